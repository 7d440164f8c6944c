"""The entrypoints of this machine, as httpd itself reads its configuration.

httpd is asked with "-t -D DUMP_CONFIG": every file that it includes, every <IfModule>, variable and macro is resolved then. It
is mod_info that answers. It need not be enabled, but only be there, as it is wherever Debian's apache2-bin is.
"""

import os
import re
import shlex
import shutil
import subprocess

# Debian's knows the variables of its configuration; elsewhere apachectl takes no options.
COMMANDS = ("apache2ctl", "httpd", "apachectl")
MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules", "/usr/local/apache2/modules")
SIZES = {"": 0, "K": 10, "M": 20, "G": 30}
SAY_HOW = "say how httpd is called with --httpd COMMAND"
SECONDS = 30            # for httpd to read its configuration: it resolves names on the way


class NotRead(Exception):
    """The configuration can't be read. remedy: what to do; refused: httpd itself would not start with it."""

    def __init__(self, problem, remedy, refused=False):
        super().__init__(problem)
        self.remedy = remedy
        self.refused = refused


class Folder:
    """A folder of boot images, as configured: WaltVpnCacheRoot and WaltVpnCacheSize, in bytes."""

    def __init__(self, path, size, place):
        self.path = path
        self.size = size
        self.place = place


class Entrypoint:
    """A server that says WaltVpnServer host[:port]. place: where it says so; folder: None without one; aliases: those
    that can be asked for, which patterns can't."""

    def __init__(self, name, aliases, walt_server, place, folder):
        self.name = name
        self.aliases = aliases
        self.walt_server = walt_server
        self.place = place
        self.folder = folder


class Configuration:
    """entrypoints; folders: of all servers, each path once; listens: [(address or "", port)]; user: who the children are."""

    def __init__(self, entrypoints, folders, listens, user):
        self.entrypoints = entrypoints
        self.folders = folders
        self.listens = listens
        self.user = user


def httpd_command():
    """The command that is there, or None."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    return next((found for found in (shutil.which(name, path=path) for name in COMMANDS) if found), None)


def read(command=None, modules=None):
    """The Configuration. command: how httpd is called, if not as usual; modules: the folder of its modules."""
    try:
        command = shlex.split(command) if command else [httpd_command()]
    except ValueError as problem:
        raise NotRead("%s: %s" % (command, problem), SAY_HOW)
    if not command or not command[0]:
        raise NotRead("there is no httpd here", "name the entrypoint, as in: walt-vpn-check http://walt-entry.example.org")
    folder = next((folder for folder in ([modules] if modules else MODULES)
                   if os.path.exists(os.path.join(folder, "mod_info.so"))), None)
    if not folder:
        raise NotRead("mod_info.so, through which httpd tells its configuration, is not found",
                      "name the folder of httpd's modules, as in: walt-vpn-check --modules %s" % (modules or MODULES[0]))
    return parse(dump(command, os.path.join(folder, "mod_info.so")))


def dump(command, mod_info):
    """What httpd says of its configuration."""
    called = " ".join(map(shlex.quote, command))
    command = command + ["-C", "LoadModule info_module %s" % mod_info, "-t", "-D", "DUMP_CONFIG", "-D", "DUMP_RUN_CFG"]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             timeout=SECONDS, universal_newlines=True, errors="replace")
    except subprocess.TimeoutExpired:
        raise NotRead("%s has not read its configuration after %d s" % (command[0], SECONDS), "type: %s -t" % called)
    except OSError as problem:
        raise NotRead("%s: %s" % (command[0], problem.strerror), SAY_HOW)
    if run.returncode:
        said = "\n".join(line for line in run.stderr.splitlines() if "info_module is already loaded" not in line)
        if os.geteuid() and re.search("[Pp]ermission denied|does not exist or is empty", said):
            raise NotRead("only root may read the configuration of httpd:\n" + said, "type: sudo walt-vpn-check")
        raise NotRead("httpd refuses its configuration, and would not start with it:\n" + said,
                      "mend that, and see what \"%s -t\" says" % called, refused=True)
    return run.stdout


def arguments(line):
    """The words behind a directive as httpd takes them: without quotes, or a backslash before another one or a quote."""
    return [re.sub(r"\\([\\%s])" % quote, r"\1", quoted if quote else bare)
            for quote, quoted, bare in re.findall(r"""(["'])((?:\\(?:\\|\1)|(?!\1).)*)\1?|(\S+)""", line)]


class Server:
    """What one server of the configuration says: {directive in lower case: [(its words, where it stands)]}."""

    def __init__(self):
        self.said = {}

    def last(self, directive, otherwise=(None, None)):
        """The first word that holds, and its place."""
        words, place = self.said.get(directive, [(None, None)])[-1]
        return (words[0], place) if words else otherwise


def servers(text):
    """The main server, and the virtual hosts. None of the directives that count may stand in a section narrower than these."""
    made = [Server()]
    file, line = "", ""
    server = made[0]
    for said in map(str.strip, text.splitlines()):
        if said.startswith("#"):
            file = said[len("# In file: "):] if said.startswith("# In file: ") else file
            line = said.strip("# :") if re.fullmatch(r"# *\d+:", said) else line
        elif said.lower().startswith("<virtualhost"):
            server = Server()
            made.append(server)
        elif said.lower() == "</virtualhost>":
            server = made[0]
        elif said and not said.startswith("<"):
            directive, _, rest = said.partition(" ")
            server.said.setdefault(directive.lower(), []).append((arguments(rest), "%s:%s" % (file, line)))
    return made


def size(text):
    """Bytes of a WaltVpnCacheSize that httpd has accepted."""
    number, unit = re.fullmatch(r"(\d+)([KMG]?)", text.upper()).groups()
    return int(number) << SIZES[unit]


def folder_of(server, main, root):
    """The folder that holds for a server, or None."""
    path, place = server.last("waltvpncacheroot", main.last("waltvpncacheroot"))
    if path is None or path.lower() == "none":
        return None
    limit, _ = server.last("waltvpncachesize", main.last("waltvpncachesize", ("1G", None)))
    return Folder(os.path.normpath(os.path.join(root, path)), size(limit), place)


def entrypoint_of(server, main, root):
    """The entrypoint that a server is, or None."""
    walt_server, place = server.last("waltvpnserver")
    if walt_server is None:
        return None
    name = re.sub(r"^\w+://|:\d+$", "", server.last("servername")[0] or "")
    aliases = [alias for words, _ in server.said.get("serveralias", []) for alias in words
               if not set(alias) & set("*?")]
    return Entrypoint(name, aliases, walt_server, place, folder_of(server, main, root))


def once_each(entrypoints):
    """What several virtual hosts make one of, such as those of ports 80 and 443, as one: where it says so first."""
    made = {}
    for entrypoint in entrypoints:
        folder = entrypoint.folder and entrypoint.folder.path
        first = made.setdefault((entrypoint.name.lower(), entrypoint.walt_server.lower(), folder), entrypoint)
        first.aliases = list(dict.fromkeys(first.aliases + entrypoint.aliases))
    return list(made.values())


def listen(words):
    """(address or "", port) of a Listen line."""
    address, _, port = words[0].rpartition(":")
    return address.strip("[]*"), int(port)


def parse(text):
    """The Configuration in httpd's answer."""
    if not re.search(r"(?m)^# In file: ", text):
        raise NotRead("httpd says nothing about its configuration", SAY_HOW)
    made = servers(text)
    root = re.search(r'(?m)^ServerRoot: "(.*)"$', text)
    root = root.group(1) if root else "/"
    user = re.search(r'(?m)^User: name="(.*?)"', text)
    entrypoints = [entrypoint_of(server, made[0], root) for server in made]
    folders = {folder.path: folder for folder in (folder_of(server, made[0], root) for server in made) if folder}
    return Configuration(once_each(filter(None, entrypoints)), list(folders.values()),
                         [listen(words) for words, _ in made[0].said.get("listen", [])], user.group(1) if user else None)
