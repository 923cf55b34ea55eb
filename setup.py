"""Packages of hfc. The model descriptions live beside the code and are installed inside it, as `hfc/models`."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["hfc", "hfc.*"]), "hfc.models"],
    package_dir={"hfc.models": "models"},
    package_data={
        "hfc": [
            "**/*.lark",
            "**/*.j2",
            "**/*.h",
            "**/*.c",
            "**/*.csv",
            "**/*.json",
            "**/*.toml",
            "**/*.html",
            "**/*.css",
            "**/*.js",
            "serve/page/vendor/LICENSES.txt",
        ],
        "hfc.models": ["*.hfm"],
    },
)
