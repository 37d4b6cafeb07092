"""What every room speaks: data, results, registries, recipes, files, the device. Nothing here knows a method.

Import from the modules: `embrm.core.data`, `embrm.core.results`, `embrm.core.registry` and so on.
"""
