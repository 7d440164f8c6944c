"""A link in a document that a package ships leads to something that it ships, too."""

import os
import re

import pytest

from httpd import PROJECT


def read(*path):
    with open(os.path.join(PROJECT, *path)) as file:
        return file.read()


def debian_ships():
    """What the Debian package puts into its folder of documents."""
    return read("debian", "libapache2-mod-walt-vpn.docs").split()


def rpm_ships():
    """The same of the RPM."""
    return re.search(r"(?m)^%doc (.*)", read("conf", "rpm", "mod_walt_vpn.spec")).group(1).split()


def documents(shipped):
    """The texts among them, by their paths in the project."""
    for path in shipped:
        if os.path.isdir(os.path.join(PROJECT, path)):
            yield from documents(os.path.join(path, name) for name in os.listdir(os.path.join(PROJECT, path)))
        elif path.endswith(".md"):
            yield path


def links(path):
    """(the file that a link of this document leads to, the heading in it or "")."""
    for file, heading in re.findall(r"\]\((?![a-z]+:)([^)#]*)#?([^)]*)\)", read(path)):
        yield os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path, heading


def headings(path):
    """The names by which links call the headings of a document."""
    return [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"(?m)^#+ (.*)", read(path))]


@pytest.mark.parametrize("ships", [debian_ships, rpm_ships])
def test_documents_link_to_what_is_shipped(ships):
    """Under that name, wherever the package is read."""
    shipped = ships()
    found = {path: list(links(path)) for path in documents(shipped)}
    assert {"README.md", "docs/SECURITY.md", "docs/facts.md"} <= set(found) and len(found["README.md"]) > 5
    for path, leads in found.items():
        for target, _ in leads:
            assert any(target == item or target.startswith(item + "/") for item in shipped), "%s: %s" % (path, target)


def test_debian_does_not_rename_what_is_linked_to():
    """debhelper compresses long documents but for those whose paths contain what the rules say."""
    spared = re.search(r"(?m)^\tdh_compress (.*)", read("debian", "rules")).group(1).replace("-X", "").split()
    for path in documents(debian_ships()):
        for target, _ in [(path, "")] + list(links(path)):
            assert any(part in "/" + target for part in spared), target


def test_links_lead_somewhere():
    """In those for developers too: the file is there, and so is the heading."""
    for path in documents(name for name in os.listdir(PROJECT) if name != "build" and not name.startswith(".")):
        for target, heading in links(path):
            assert os.path.exists(os.path.join(PROJECT, target)), "%s: %s" % (path, target)
            assert not heading or heading in headings(target), "%s: #%s" % (path, heading)


def test_readme_lists_every_page():
    """Ten at most, so that each has a reason to be opened."""
    pages = set(documents(["docs"]))
    assert len(pages) <= 10
    assert pages <= {target for target, _ in links("README.md")}


def test_readme_of_the_tests_names_every_folder_and_helper():
    """And none that is not there any more."""
    test = os.path.join(PROJECT, "test")
    here = {name + "/" for name in os.listdir(test) if os.path.isdir(os.path.join(test, name)) and name[0] not in "._"}
    here |= {name for name in os.listdir(os.path.join(test, "helpers")) if name.endswith(".py")} | {"conftest.py"}
    first_cells = "".join(re.findall(r"(?m)^\|([^|]*)\|", read("test", "README.md")))
    assert set(re.findall(r"`([\w/]+(?:/|\.py))`", first_cells)) == here
