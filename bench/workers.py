"""Engines as resident processes, pinned to CPUs, that answer worker.c's lines; and embed() in a session."""
import json
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Worker:
    def __init__(self, name, command, cpus, work, realtime=False):
        self.name = name
        priority = ["chrt", "-f", "10"] if realtime else []
        self.log = open(os.path.join(work, "log." + name), "w+")
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            priority + ["taskset", "-c", cpus] + command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1
        )
        self.pid = self.process.pid
        self.version = self.line().split(" ", 1)[1]
        self.start_s = time.perf_counter() - begin

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("error"):
            self.log.seek(0)
            raise RuntimeError("%s: %s %s" % (self.name, line, self.log.read()[-400:]))
        return line

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def times(self, text):
        self.say(text)
        return [float(x) for x in self.line().split()[1:]]

    def documents(self, docs):
        """of ids: what tokenization costs is outside the figures"""
        self.say("\n".join(["ids %d" % len(docs)] + [" ".join(map(str, ids)) for _, ids in docs]))
        self.line()

    def texts(self, texts):
        self.say("\n".join(["texts %d" % len(texts)] + texts))
        self.line()

    def bench(self, batch, seconds, at_least=1, at_most=400):
        return self.times("bench %d %g %d %d" % (batch, seconds, at_least, at_most))

    def one_pass(self, arrangement):
        return self.times("pass " + arrangement)[0]

    def setting(self, batch):
        self.say("setting %d" % batch)
        return json.loads(self.line().split(" ", 1)[1])

    def vectors(self, n):
        self.say("vectors")
        return [[float(x) for x in self.line().split()] for _ in range(n)]

    def cpu_s(self):
        """CPU time of the process so far"""
        fields = open("/proc/%d/stat" % self.pid).read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self):
        found = {}
        for line in open("/proc/%d/smaps_rollup" % self.pid).read().splitlines()[1:]:
            key, value = line.split()[:2]
            found[key.rstrip(":")] = int(value)
        return found

    def quit(self):
        try:
            self.say("quit")
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


class Sql(Worker):
    """A session, timed inside the server by PL/pgSQL."""

    def __init__(self, name, conninfo, model, threads, cpus):
        self.name, self.model, self.version = name, model, "in PostgreSQL"
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", conninfo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.say("SET client_min_messages = warning;")
        self.say(open(os.path.join(HERE, "bench.sql")).read())
        self.say("SET embed.threads = %d; SELECT pg_backend_pid();" % threads)
        self.pid = int(self.line())
        self.start_s = time.perf_counter() - begin
        subprocess.run(["taskset", "-a", "-p", "-c", cpus, str(self.pid)], check=True, stdout=subprocess.DEVNULL)

    def line(self):
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError("psql ended")
        return line

    def texts(self, texts):
        self.say("TRUNCATE bench_docs;")
        for i in range(0, len(texts), 100):
            rows = ["(%d, '%s')" % (i + k, t.replace("'", "''")) for k, t in enumerate(texts[i : i + 100])]
            self.say("INSERT INTO bench_docs VALUES %s;" % ", ".join(rows))

    def documents(self, docs):
        self.texts([text for text, _ in docs])

    def times(self, text):
        self.say("SELECT array_to_string(%s, ' ');" % text)
        return [float(x) for x in self.line().split()]

    def bench(self, batch, seconds, at_least=1, at_most=400):
        return self.times("pg_temp.bench('%s', %d, %g, %d, %d)" % (self.model, batch, seconds, at_least, at_most))

    def one_pass(self, arrangement):
        if arrangement == "parallel":
            self.say("SET max_parallel_workers_per_gather = 1;")
        ms = self.times("ARRAY[pg_temp.pass('%s', '%s')]" % (self.model, arrangement))[0]
        if arrangement == "parallel":
            self.say("SET max_parallel_workers_per_gather = 0;")
        return ms

    def setting(self, batch):
        return None

    def vectors(self, n):
        self.say("SELECT array_to_string(embed(t, '%s'), ' ') FROM bench_docs ORDER BY i;" % self.model)
        return [[float(x) for x in self.line().split()] for _ in range(n)]

    def quit(self):
        self.process.stdin.close()
        self.process.wait(10)
