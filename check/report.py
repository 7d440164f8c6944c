"""What walt-vpn-check says: lines in plain words, each with a remedy if it needs one, and one verdict on all of them."""

import enum


class Verdict(enum.Enum):
    """Of a line, and of all: the worst of theirs. How bad; the exit status; that of a monitoring plugin."""

    OK = (0, 0, 0)
    NOTE = (1, 0, 0)
    UNKNOWN = (2, 2, 3)
    CRITICAL = (3, 1, 2)


def shown(text):
    """A text of lines, and no more than that: what a stranger's server says must not speak to the terminal."""
    return "".join(char if char in "\n\t" or char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class Report:
    """Lines for the administrator, under a title for each entrypoint."""

    def __init__(self):
        self.lines = []
        self.verdict = Verdict.OK
        self.summary = ""       # the first line that is as bad as the verdict
        self.about = ""         # whom the lines below the last title are about
        self.figures = []       # (about whom, label, value as monitoring plugins tell it)

    def title(self, text, about):
        self.lines.append(shown(text))
        self.about = about

    def figure(self, label, value):
        self.figures.append((self.about, label, value))

    def say(self, verdict, text, remedy=None):
        text = shown(text)
        self.lines.append("  %-8s  %s" % (verdict.name.lower() if verdict.value[0] < 2 else verdict.name,
                                          text.replace("\n", "\n            ")))
        if remedy:
            self.lines.append("            -> %s" % shown(remedy))
        if verdict.value[0] > max(self.verdict.value[0], Verdict.NOTE.value[0]):
            self.verdict, self.summary = verdict, text.partition("\n")[0].rstrip(":")

    def ok(self, text):
        self.say(Verdict.OK, text)

    def note(self, text, remedy=None):
        self.say(Verdict.NOTE, text, remedy)

    def unknown(self, text, remedy):
        self.say(Verdict.UNKNOWN, text, remedy)

    def critical(self, text, remedy):
        self.say(Verdict.CRITICAL, text, remedy)

    def performance(self):
        """The figures as monitoring plugins tell them. No two have one label: those of several entrypoints have names."""
        told = {}
        several = len({about for about, _, _ in self.figures}) > 1
        for about, label, value in self.figures:
            label += "_" + about if several else ""
            while label in told:
                label += "_"
            told[label] = value
        return " ".join("%s=%s" % pair for pair in told.items())

    def text(self, good, plugin):
        """All of it; the first line is the summary, or what is good if nothing is bad. A plugin's figures follow a "|"."""
        lines = ["WALT-VPN %s: %s" % (self.verdict.name, self.summary or shown(good))] + self.lines
        if plugin:
            lines = [line.replace("|", "/") for line in lines]
            if self.figures:
                lines[0] += " | " + self.performance()
        return "\n".join(lines)
