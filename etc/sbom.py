#!/usr/bin/env python3
"""sbom.py ARCHIVE NAME COMMIT SECONDS - prints the SPDX 2.3 document of a release archive

What is in it comes from the archive itself, what it is built with from the table of libraries in its docs/dependencies.md,
so that neither can be forgotten. SECONDS, the commit's, is the only time in it.
"""
import datetime
import hashlib
import json
import re
import sys
import tarfile

LICENSES = {"libuv": "MIT", "jansson": "MIT", "libmicrohttpd": "LGPL-2.1-or-later", "libslirp": "BSD-3-Clause", "libcurl": "curl",
            "libnftables": "GPL-2.0-only", "libseccomp": "LGPL-2.1-only", "cmocka": "Apache-2.0"}
# Of the rest the build links what the system has.
RELATIONS = {"cmocka": "TEST_DEPENDENCY_OF", "libnftables": "OPTIONAL_DEPENDENCY_OF"}


def spdx_id(text):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", text)


def files_of(archive, name):
    """One SPDX file for each file of the archive, in its order."""
    for number, member in enumerate(archive):
        if member.isfile():
            data = archive.extractfile(member).read()
            yield {"SPDXID": f"SPDXRef-File-{number}", "fileName": "./" + member.name.removeprefix(name + "/"),
                   "checksums": [{"algorithm": "SHA1", "checksumValue": hashlib.sha1(data).hexdigest()},
                                 {"algorithm": "SHA256", "checksumValue": hashlib.sha256(data).hexdigest()}],
                   "licenseConcluded": "Apache-2.0", "copyrightText": "NOASSERTION"}


def libraries_of(text):
    """One SPDX package for each row of the table of libraries."""
    for library, url, version in re.findall(r"^\| \[([a-z]+)\]\((\S+)\) ([0-9.]+)(?: \([^)]+\))? \|", text, re.M):
        yield {"SPDXID": spdx_id(library), "name": library, "versionInfo": version, "supplier": "NOASSERTION", "downloadLocation": url,
               "filesAnalyzed": False, "licenseConcluded": LICENSES[library], "licenseDeclared": LICENSES[library],
               "copyrightText": "NOASSERTION", "comment": "not in the archive: the system's own is used"}


def verification_code(files):
    """As SPDX 2.3, 7.9, says: SHA1 of the sorted SHA1 sums of all files."""
    return hashlib.sha1("".join(sorted(file["checksums"][0]["checksumValue"] for file in files)).encode()).hexdigest()


def document(path, name, commit, seconds):
    with tarfile.open(path) as archive:
        files = list(files_of(archive, name))
        libraries = list(libraries_of(archive.extractfile(f"{name}/docs/dependencies.md").read().decode()))
    with open(path, "rb") as whole:
        checksum = hashlib.sha256(whole.read()).hexdigest()
    created = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    package = {"SPDXID": "SPDXRef-vmswitch", "name": "vmswitch", "versionInfo": name.removeprefix("vmswitch-"),
               "packageFileName": f"{name}.tar.gz", "supplier": "NOASSERTION", "downloadLocation": "NOASSERTION", "filesAnalyzed": True,
               "packageVerificationCode": {"packageVerificationCodeValue": verification_code(files)},
               "checksums": [{"algorithm": "SHA256", "checksumValue": checksum}], "sourceInfo": f"commit {commit}",
               "licenseConcluded": "Apache-2.0", "licenseInfoFromFiles": ["Apache-2.0"], "licenseDeclared": "Apache-2.0",
               "copyrightText": "NOASSERTION"}
    related = [("SPDXRef-DOCUMENT", "DESCRIBES", package["SPDXID"])]
    related += [(package["SPDXID"], "CONTAINS", file["SPDXID"]) for file in files]
    related += [(library["SPDXID"], RELATIONS.get(library["name"], "DEPENDENCY_OF"), package["SPDXID"]) for library in libraries]
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
            "documentNamespace": f"https://github.com/vmswitch/vmswitch/spdx/{name}-{commit}",
            "creationInfo": {"created": created, "creators": ["Tool: vmswitch-etc/sbom.py"]},
            "packages": [package, *libraries], "files": files,
            "relationships": [{"spdxElementId": a, "relationshipType": kind, "relatedSpdxElement": b} for a, kind, b in related]}


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    json.dump(document(*sys.argv[1:]), sys.stdout, indent=1)
    print()
