"""A program of its own: list what an HDF5 file holds, as one line of JSON, within limits.

Run by ``hdf5_check`` as ``python hdf5_lister.py FILE``; it imports nothing of this project, so
that it starts with nothing but the HDF5 library.
"""

import json
import resource
import sys
from typing import Any

MEMORY_LIMIT, SECONDS = 1 << 30, 50
OBJECT_LIMIT = 100_000
DEPTH_LIMIT = 64
CONFIG_LIMIT = 32 << 20
GROWTH, FREE = 100, 64 << 20  # a dataset may be 100 times its bytes in the file, or 64 MiB
FILTERS = {1, 2, 3}  # deflate, shuffle, fletcher32: built into the library


def main(path: str) -> dict[str, Any]:
    """``config``: Keras's description or null; else ``unsafe``, ``damaged`` or ``missing``."""
    try:
        import h5py
    except ImportError:
        return {"missing": True}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with h5py.File(path, "r") as file:
            unsafe = first_unsafe(h5py, file)
            if unsafe is not None:
                return {"unsafe": unsafe}
            config = file.attrs.get("model_config")
            if isinstance(config, bytes):
                config = config.decode("utf-8")
            if config is not None and not isinstance(config, str):
                return {"damaged": "its description is no text"}
            if config is not None and len(config) > CONFIG_LIMIT:
                return {"damaged": f"a description of {len(config)} characters"}
            return {"config": config}
    except MemoryError:
        return {"damaged": f"reading it takes more than {MEMORY_LIMIT} bytes"}
    except Exception as error:  # the library raises many kinds
        return {"damaged": f"{type(error).__name__}: {str(error)[:200]}"}


def first_unsafe(h5py: Any, file: Any) -> str | None:
    """The first object that refers to another file or explodes; None where all is harmless."""
    pending, seen = [(file, 0)], 0
    while pending:
        group, depth = pending.pop()
        if depth > DEPTH_LIMIT:
            return "groups nested too deeply"
        for name in group:
            seen += 1
            if seen > OBJECT_LIMIT:
                return f"more than {OBJECT_LIMIT} objects"
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                return f"{group.name}/{name} is a link to another place"
            child = group[name]
            if isinstance(child, h5py.Group):
                pending.append((child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                reason = dataset_fault(child)
                if reason is not None:
                    return f"the dataset {child.name} {reason}"
            else:
                return f"{group.name}/{name} is a {type(child).__name__}"
    return None


def dataset_fault(dataset: Any) -> str | None:
    """Why a dataset may not be read, or None."""
    if dataset.external:
        return "lies in another file"
    if dataset.is_virtual:
        return "is put together from other files"
    plan = dataset.id.get_create_plist()
    for index in range(plan.get_nfilters()):
        if plan.get_filter(index)[0] not in FILTERS:
            return f"needs the filter {plan.get_filter(index)[0]}, which is a plug-in"
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(FREE, GROWTH * stored):
        return f"would grow from {stored} to {dataset.nbytes} bytes"
    return None


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
