"""Runs a script on the original driver of nixpkgs: `original.py SOURCES CONFIGURATION`.

SOURCES is the folder that has its package, `test_driver`. The drivers of several years take different arguments, and newer ones want a newer Python
than Debian's: what they need is put in place here, not in them.
"""

import collections.abc
import inspect
import json
import pathlib
import sys
import types
import typing
import warnings


class Blank(str):
    """Stands for the packages that only colour the log or write reports."""

    def __getattr__(self, name):
        return Blank()

    def __call__(self, *args, **kwargs):
        return Blank()


def fill_in():
    for name in ("colorama", "junit_xml", "ptpython", "ptpython.ipython", "ptpython.repl", "remote_pdb", "PIL"):
        try:
            __import__(name)
        except ImportError:
            module = types.ModuleType(name)
            module.__path__ = []
            module.__getattr__ = lambda wanted: raise_missing(wanted) if wanted.startswith("__") else Blank()
            sys.modules[name] = module
    if not hasattr(warnings, "deprecated"):
        warnings.deprecated = lambda *args, **kwargs: lambda fn: fn
    # Before 3.13 it takes three parameters, no fewer.
    typing.Generator = collections.abc.Generator


def raise_missing(name):
    raise AttributeError(name)


def main():
    sources, configuration = sys.argv[1:]
    with open(configuration) as file:
        config = json.load(file)
    fill_in()
    sys.path.insert(0, sources)
    from test_driver import driver, logger

    with open(config["test_script"]) as file:
        tests = file.read()
    scripts = {name: vm["start_script"] for name, vm in config["vms"].items()}
    values = {
        "vm_names": list(scripts),
        "vm_start_scripts": list(scripts.values()),
        "start_scripts": list(scripts.values()),
        "container_names": [],
        "container_start_scripts": [],
        "vlans": config["vlans"],
        "tests": tests,
        "out_dir": pathlib.Path(config["out_dir"]),
        "logger": logger.CompositeLogger([logger.TerminalLogger()]),
        "global_timeout": config["global_timeout"],
    }
    takes = inspect.signature(driver.Driver.__init__).parameters
    with driver.Driver(**{name: value for name, value in values.items() if name in takes}) as made:
        made.run_tests()


main()
