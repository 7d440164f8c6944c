"""Libraries that stand before libc in httpd, so that a test can say what its calls do."""

import os
import subprocess


class Preload:
    """Of each httpd that is started with its environment. SOURCE is in C; in VARIABLE it finds the file that tells it what to do:
    as long as there is none, everything is as it is."""

    SOURCE = VARIABLE = ""

    def __init__(self, folder):
        place = os.path.join(folder, type(self).__name__.lower())
        os.mkdir(place)
        os.chmod(place, 0o755)
        self.library = os.path.join(place, "preload.so")
        self.path = os.path.join(place, "told")
        with open(os.path.join(place, "preload.c"), "w") as source:
            source.write(self.SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, source.name, "-ldl"], check=True)

    @property
    def environment(self):
        return {self.VARIABLE: self.path,
                "HTTPD_PRELOAD": " ".join(filter(None, [os.environ.get("HTTPD_PRELOAD"), self.library]))}

    def tell(self, text):
        with open(self.path + ".new", "w") as file:
            file.write(text)
        os.rename(self.path + ".new", self.path)
