"""Files that are made from others, and whether they are in step."""

import sys

HEADER = "# Made by build.py from rules.yaml; changes belong there.\n"


def out_of_step(files, folders):
    """What is to be written, and what lies in the folders though nothing makes it."""
    stale = [path for path in files if not path.exists() or path.read_text(encoding="utf-8") != files[path]]
    left = [path for folder in folders if folder.exists() for path in sorted(folder.iterdir()) if path not in files]
    return stale, left


def main(files, folders):
    """Writes the files, or with `--check` says which are not as they should be. The exit code."""
    stale, left = out_of_step(files, folders)
    if "--check" in sys.argv[1:]:
        for path in stale + left:
            print(f"{path}: out of step with its source")
        return 1 if stale or left else 0
    for path in left:
        path.unlink()
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return 0
