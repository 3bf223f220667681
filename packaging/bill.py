#!/usr/bin/env python3
"""Makes one bill of materials (CycloneDX, JSON) of those of several programs, and prints it:

    packaging/bill.py ROOT BILL... <LIBRARIES

The first bill is the product's; the programs of the others become components of it. ROOT, the folder that the programs were
built in, is left out of every reference. LIBRARIES has a line `NAME VERSION: ...` for each library that is linked into the
programs, up to an empty line; one that no bill has is an error.
"""

import json
import sys


def main(root, paths, libraries):
    bills = [read(path, root) for path in paths]
    whole = bills[0]
    components = {}
    depends_on = {}
    for bill in bills:
        others = [] if bill is whole else [bill["metadata"]["component"]]
        for component in bill["components"] + others:
            known = components.setdefault(component["bom-ref"], component)
            # What one program needs only for its build may be linked into another.
            if component.get("scope") == "required":
                known["scope"] = "required"
        for dependency in bill["dependencies"]:
            depends_on.setdefault(dependency["ref"], set()).update(dependency.get("dependsOn", []))
    whole.pop("serialNumber", None)
    whole["components"] = [components[ref] for ref in sorted(components)]
    whole["dependencies"] = [{"ref": ref, "dependsOn": sorted(depends_on[ref])} for ref in sorted(depends_on)]

    listed = {(component["name"], component["version"]) for component in whole["components"]}
    missing = sorted(linked(libraries) - listed)
    if missing:
        sys.exit("bill.py: these libraries are linked, and no bill has them: " + ", ".join(" ".join(one) for one in missing))
    json.dump(whole, sys.stdout, indent=1, sort_keys=True)
    print()


def read(path, root):
    with open(path, encoding="utf-8") as file:
        return json.loads(file.read().replace(f"path+file://{root}", "path+file:."))


def linked(libraries):
    lines = libraries.split("\n\n")[0].splitlines()
    names_and_versions = (line.split(":")[0].split() for line in lines)
    return {(name, version.removeprefix("v")) for name, version in names_and_versions}


main(sys.argv[1], sys.argv[2:], sys.stdin.read())
