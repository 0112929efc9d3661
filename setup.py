"""For tools that want this file; everything stands in setup.cfg."""

from setuptools import setup

setup()
