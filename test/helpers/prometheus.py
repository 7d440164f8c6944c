"""A private Prometheus that scrapes one entrypoint every second, and is asked what it knows."""

import http.client
import json
import os
import shutil
import urllib.parse

import processes

CONFIGURATION = """\
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: ["%s"]
scrape_configs:
  - job_name: walt_vpn
    metrics_path: /metrics
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


def program():
    """Its path, or None."""
    return shutil.which("prometheus")


class Prometheus(processes.Server):

    title = "Prometheus"

    def __init__(self, folder, scraped_port, rules):
        """folder: an empty one; rules: the path of a rules file."""
        super().__init__(folder)
        self.scraped_port = scraped_port
        self.rules = rules

    def command(self):
        configuration = os.path.join(self.folder, "prometheus.yml")
        with open(configuration, "w") as file:
            file.write(CONFIGURATION % (self.rules, self.scraped_port))
        return [program(), "--config.file=" + configuration, "--storage.tsdb.path=" + os.path.join(self.folder, "data"),
                "--web.listen-address=127.0.0.1:%d" % self.port, "--log.level=warn"]

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def is_up(self):
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, expression):
        """[(labels, value), ...] now; an expression that it does not accept is an error."""
        status, body = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        told = json.loads(body.decode("utf-8"))
        assert status == 200 and told["status"] == "success" and not told.get("warnings"), (expression, told)
        if told["data"]["resultType"] == "scalar":
            return [({}, float(told["data"]["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in told["data"]["result"]]

    def value(self, expression):
        """That of the one sample there is; None: there is none."""
        samples = self.query(expression)
        assert len(samples) < 2, samples
        return samples[0][1] if samples else None

    def firing(self):
        """Names of the alerts that fire."""
        return {labels["alertname"] for labels, _ in self.query('ALERTS{alertstate="firing"}')}
