"""The Python side of vmtest: what a script for the NixOS test driver finds when it runs.

vmtest starts this file as `python3 -I -X utf8 shim.py`, with a socket as descriptor 4. Both sides send JSON, one object a line;
internal/protocol.ts describes every line. Standard input, output and error are the script's own. Only the standard library is used, 3.9 or
newer, and what takes long to import is imported when it is needed: the script waits for all of it.
"""

import itertools
import json
import os
import queue
import re
import signal
import sys
import threading
import time
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

CHANNEL = 4
SHIM = __file__


# ---------------------------------------------------------------------------------------------------------------------------------------
# Errors: the names that scripts catch
# ---------------------------------------------------------------------------------------------------------------------------------------


class TestScriptError(Exception):
    """The script failed."""


class MachineError(TestScriptError):
    """A machine, or what drives it, did not do what it was asked for."""


class RequestedAssertionFailed(TestScriptError, AssertionError):
    """What the script asserted does not hold: a command, a unit, a wait, an assertion of `t`."""


class PollingConditionError(Exception):
    """A polling condition does not hold."""


class NotAvailable(MachineError, NotImplementedError):
    """vmtest does not have this; the message says why, and what to use."""


class QMPAPIError(RuntimeError):
    """QEMU refused a command."""

    def __init__(self, message):
        error = message["error"]
        super().__init__(error["desc"])
        self.class_name = error["class"]
        self.description = error["desc"]
        self.transaction_id = message.get("id")

    def __str__(self):
        return (
            f"<QMP API error related to transaction {self.transaction_id} [{self.class_name}]: {self.description}>"
        )


class Stopped(BaseException):
    """The test is over, for a reason that vmtest knows: the script is ended, and its `finally` blocks run."""


ERRORS = {
    "RequestedAssertionFailed": RequestedAssertionFailed,
    "MachineError": MachineError,
    "NotAvailable": NotAvailable,
    "PollingConditionError": PollingConditionError,
    "TimeoutError": TimeoutError,
    "RuntimeError": RuntimeError,
    "FileNotFoundError": FileNotFoundError,
}


# ---------------------------------------------------------------------------------------------------------------------------------------
# The channel: calls from any thread, each of which waits for its own reply
# ---------------------------------------------------------------------------------------------------------------------------------------

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
_numbers = itertools.count(1)
_waiting = {}
_writing = threading.Lock()
_stopping = False
_forked = False


def _send(frame):
    data = memoryview(_encode(frame).encode() + b"\n")
    with _writing:
        while data:
            data = data[os.write(CHANNEL, data) :]


def _lines():
    parts = []
    while True:
        try:
            chunk = os.read(CHANNEL, 1 << 20)
        except OSError:
            return
        if not chunk:
            return
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            parts.append(end)
            yield b"".join(parts)
            parts = []
        parts.append(rest)


def _read(lines):
    global _stopping
    for line in lines:
        frame = json.loads(line)
        box = _waiting.pop(frame["id"], None)
        if box is not None:
            box.put(frame)
    # Nobody answers any more.
    _stopping = True
    while _waiting:
        _waiting.popitem()[1].put(None)


class Within(threading.local):
    """The innermost subtest of a thread; a new thread is within that of the main thread."""

    outermost = 0

    @property
    def subtest(self):
        return self.__dict__.get("_subtest", Within.outermost)

    @subtest.setter
    def subtest(self, number):
        if threading.current_thread() is threading.main_thread():
            Within.outermost = number
        self.__dict__["_subtest"] = number


_within = Within()


def _error_of(number, error):
    kind = error["kind"]
    if kind == "QMPAPIError":
        made = QMPAPIError({"error": {"class": error["class"], "desc": error["message"]}, "id": number})
    else:
        made = ERRORS.get(kind, MachineError)(error["message"])
    # What it is for vmtest, if the script does not catch it.
    made._vmtest_call = number
    made._vmtest_told = error.get("told")
    return made


def call(target, method, conditions=None, /, **args):
    """Asks vmtest, and waits for its reply. While it waits, `conditions` are checked whenever they are due."""
    if _forked:
        raise MachineError("a process that the script has forked cannot use machines; use threads")
    if _stopping:
        raise Stopped()
    number = next(_numbers)
    box = _waiting[number] = queue.SimpleQueue()
    try:
        _send({"t": "call", "id": number, "target": target, "method": method, "args": args, "within": _within.subtest})
        while True:
            due = None if conditions is None else conditions.due()
            try:
                reply = box.get(timeout=due)
                break
            except queue.Empty:
                pass
            # Not above, where what it raises would have the empty queue as its cause.
            conditions.check()
    except BaseException:
        if _waiting.pop(number, None) is not None and not _stopping:
            _send({"t": "cancel", "id": number})
        raise
    if reply is None:
        raise Stopped()
    if "error" in reply:
        raise _error_of(number, reply["error"])
    return reply.get("value")


def _say(line):
    if _forked:
        print(line, flush=True)
    elif not _stopping:
        _send({"t": "log", "line": str(line)})


def _leave_channel():
    """In a process that the script has forked: two that speak over one channel would mix their lines."""
    global _forked
    _forked = True
    os.close(CHANNEL)


# ---------------------------------------------------------------------------------------------------------------------------------------
# Times
# ---------------------------------------------------------------------------------------------------------------------------------------


def as_seconds(duration):
    """Seconds: of a number, or of a `datetime.timedelta`."""
    if isinstance(duration, bool) or not (isinstance(duration, (int, float)) or hasattr(duration, "total_seconds")):
        raise TypeError(f"expected a timedelta, int, or float duration, got {type(duration).__name__}")
    return duration.total_seconds() if hasattr(duration, "total_seconds") else duration


def _shown(seconds):
    return int(seconds) if seconds == int(seconds) else seconds


def retry(fn, timeout_seconds=900, timeout=None):
    """Calls `fn(False)` once a second until it gives something true; a last time with `True` when the time is over."""
    limit = as_seconds(timeout_seconds if timeout is None else timeout)
    start = time.monotonic()
    while time.monotonic() - start < limit:
        if fn(False):
            return
        time.sleep(1)
    elapsed = time.monotonic() - start
    if not fn(True):
        raise RequestedAssertionFailed(f"action timed out after {elapsed:.2f} seconds (timeout={_shown(limit)})")


# ---------------------------------------------------------------------------------------------------------------------------------------
# Names that vmtest does not have
# ---------------------------------------------------------------------------------------------------------------------------------------

_hints = {}


class Hinted:
    """An object whose missing attributes are explained."""

    _holder = "machine"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(_unknown(self._holder, repr(self), name, dir(self)))


def _unknown(holder, shown, name, names):
    hint = _hints.get(holder, {}).get(name)
    if hint is not None:
        return f"vmtest does not have {name!r} of {shown}: {hint}"
    from difflib import get_close_matches

    near = get_close_matches(name, [one for one in names if not one.startswith("_")], 1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    return f"{shown} has no attribute {name!r}{meant}"


# ---------------------------------------------------------------------------------------------------------------------------------------
# Polling conditions
# ---------------------------------------------------------------------------------------------------------------------------------------


class PollingCondition:
    """A condition that must hold whenever the script runs a command or waits."""

    def __init__(self, condition, logger=None, seconds_interval=2.0, description=None):
        self.condition = condition
        self.logger = logger
        self.seconds_interval = as_seconds(seconds_interval)
        self.description = str(description or condition.__doc__ or getattr(condition, "__name__", condition))
        self.last_called = float("-inf")
        self.entry_count = 0

    @property
    def entered(self):
        return self.entry_count > 0

    @property
    def overdue(self):
        return self.last_called + self.seconds_interval < time.monotonic()

    @property
    def nested_message(self):
        return f"Checking polling condition {self.description!r}"

    def status_message(self, status):
        return f"Polling condition {'succeeded' if status else 'failed'}: {self.description}"

    def check(self, force=False):
        if (self.entered or not self.overdue) and not force:
            return True
        with self:
            try:
                held = self.condition()
            except Exception:
                held = False
            return held is None or bool(held)

    def maybe_raise(self):
        if not self.check():
            raise PollingConditionError(self.status_message(False))

    def __enter__(self):
        self.entry_count += 1

    def __exit__(self, *_):
        self.entry_count -= 1
        self.last_called = time.monotonic()


class Conditions:
    """The conditions that hold now, for a wait."""

    def __init__(self, run):
        self.run = run

    def due(self):
        waiting = [one for one in driver.polling_conditions if not one.entered]
        if not waiting:
            return 1 if self.run is not None else None
        next_one = min(one.last_called + one.seconds_interval for one in waiting)
        return min(max(next_one - time.monotonic() + 0.001, 0.001), 5)

    def check(self):
        self.run()


# ---------------------------------------------------------------------------------------------------------------------------------------
# The log
# ---------------------------------------------------------------------------------------------------------------------------------------


class AbstractLogger(Hinted):
    """What `log` is. Lines go to vmtest's report."""

    _holder = "log"

    def __repr__(self):
        return "log"

    @staticmethod
    def _prefixed(message, attributes):
        return f"{attributes['machine']}: {message}" if "machine" in attributes else str(message)

    def log(self, message, attributes={}):
        _say(self._prefixed(message, attributes))

    def debug(self, *args, **attributes):
        if self._level <= 1:
            self.log(args[0], attributes)

    def info(self, *args, **attributes):
        if self._level <= 2:
            self.log(args[0], attributes)

    def warning(self, *args, **attributes):
        if self._level <= 3:
            self.log(args[0], attributes)

    def error(self, *args, **attributes):
        self.log(args[0], attributes)
        sys.exit(1)

    def log_test_error(self, *args, **attributes):
        _say(f"!!! {self._prefixed(args[0], attributes)}")

    def log_serial(self, message, machine):
        _say(f"{machine} # {message}")

    @contextmanager
    def nested(self, message, attributes={}):
        self.log(message, attributes)
        start = time.monotonic()
        yield
        self.log(f"(finished: {message}, in {time.monotonic() - start:.2f} seconds)", attributes)

    @contextmanager
    def subtest(self, name, attributes={}):
        with driver.subtest(name):
            yield

    def print_serial_logs(self, enable):
        """For `nixos-test-driver`; `vmtest run --verbose` always shows consoles."""
        call("", "show_consoles", shown=bool(enable))

    def set_log_level(self, level):
        self._level = int(level)

    _level = 2


# ---------------------------------------------------------------------------------------------------------------------------------------
# Machines
# ---------------------------------------------------------------------------------------------------------------------------------------

_environment = dict(os.environ)


def _changed_environment():
    """What the script changed of the environment that it was started with; None is a variable that it took away."""
    changed = {name: value for name, value in os.environ.items() if _environment.get(name) != value}
    return {**changed, **{name: None for name in _environment if name not in os.environ}}


def _path(text):
    from pathlib import Path

    return Path(text)


def _folder(text):
    folder = _path(text)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


class BaseMachine(Hinted):
    """A machine of the test."""

    def __init__(self, info):
        self.name = info["name"]
        self.keep_machine_state = False
        self._places = info
        self._gone = False
        self._started = False
        self._starting = threading.RLock()
        self.callbacks = [lambda: driver.check_polling_conditions()]
        self.logger = log

    def __repr__(self):
        return f"<{type(self).__name__} {self.name!r}>"

    # Places on the host

    @property
    def state_dir(self):
        return _folder(self._places["stateDir"])

    @property
    def shared_dir(self):
        return _folder(self._places["sharedDir"])

    @property
    def out_dir(self):
        return driver.out_dir

    @property
    def tmp_dir(self):
        return _path(self._places["tmpDir"])

    # Calls

    def _ask(self, method, /, **args):
        """Without the polling conditions."""
        return call(self.name, method, **args)

    def _do(self, method, /, **args):
        self.run_callbacks()
        self._reach()
        return call(self.name, method, **args)

    def _wait(self, method, timeout, /, **args):
        """A wait of vmtest's, during which the polling conditions are checked."""
        self.run_callbacks()
        if method not in ("shutdown", "wait_for_shutdown", "wait_for_end"):
            self._reach()
        return call(
            self.name, method, Conditions(self.run_callbacks), timeout=None if timeout is None else as_seconds(timeout), **args
        )

    def _reach(self):
        """Starts the machine if the script has not started it, or has switched it off, with the environment as it is now."""
        with self._starting:
            if not self._started:
                self.start()

    def _off(self):
        self._started = False

    def _until(self, look, timeout, interval=0.2):
        """Looks until there is something, with a last look when the time is over."""
        limit = as_seconds(timeout)
        start = time.monotonic()
        while time.monotonic() - start < limit:
            if look(False):
                return
            time.sleep(min(interval, max(0.0, limit - (time.monotonic() - start))))
        elapsed = time.monotonic() - start
        if not look(True):
            raise RequestedAssertionFailed(f"action timed out after {elapsed:.2f} seconds (timeout={_shown(limit)})")

    def run_callbacks(self):
        for callback in self.callbacks:
            callback()

    # The log

    def log(self, msg):
        self.logger.log(msg, {"machine": self.name})

    def log_serial(self, msg):
        self.logger.log_serial(msg, self.name)

    def nested(self, msg, attrs={}):
        return self.logger.nested(msg, {"machine": self.name, **attrs})

    # Commands

    def execute(self, command, check_return=True, check_output=True, timeout=900):
        self.run_callbacks()
        return self._execute(command, check_return, check_output, timeout)

    def _execute(self, command, check_return=True, check_output=True, timeout=900):
        limit = None if timeout is None else as_seconds(timeout)
        self._reach()
        if not check_output:
            call(self.name, "start_command", command=command, timeout=limit)
            return (-2, "")
        if not check_return:
            return (-1, call(self.name, "execute", command=command, timeout=limit, lossy=True)["output"])
        result = call(self.name, "execute", command=command, timeout=limit, lossy=False)
        return (result["status"], result["output"])

    def succeed(self, *commands, timeout=None):
        return self._all(commands, "succeed", timeout)

    def fail(self, *commands, timeout=None):
        return self._all(commands, "fail", timeout)

    def _all(self, commands, method, timeout):
        limit = None if timeout is None else as_seconds(timeout)
        output = ""
        for command in commands:
            output += self._do(method, command=command, timeout=limit)
            if method == "fail" and not command.strip():
                raise RequestedAssertionFailed(f"command `{command}` unexpectedly succeeded")
        return output

    def wait_until_succeeds(self, command, timeout=900):
        return self._wait("wait_until_succeeds", timeout, command=command)

    def wait_until_fails(self, command, timeout=900):
        return self._wait("wait_until_fails", timeout, command=command)

    def sleep(self, secs):
        """In the guest's time."""
        self._wait("succeed", None, command=f"sleep {secs if isinstance(secs, str) else as_seconds(secs)}")

    # systemd

    def systemctl(self, q, user=None):
        result = self._do("systemctl", query=q, user=user)
        return (result["status"], result["output"])

    def wait_for_unit(self, unit, user=None, timeout=900):
        self._wait("wait_for_unit", timeout, unit=unit, user=user)

    def get_unit_info(self, unit, user=None):
        status, lines = self.systemctl(f'--no-pager show "{unit}"', user)
        self._must_know(status, f'retrieving systemctl info for unit "{unit}"', user)
        pairs = (line.partition("=") for line in lines.split("\n"))
        return {name: value for name, equals, value in pairs if name and equals}

    def get_unit_property(self, unit, property, user=None):
        status, lines = self.systemctl(f'--no-pager show "{unit}" --property="{property}"', user)
        self._must_know(status, f'retrieving systemctl property "{property}" for unit "{unit}"', user)
        name, equals, value = lines.partition("\n")[0].partition("=")
        said = f'systemctl show --property "{property}" "{unit}"produced invalid output: {lines}'
        assert equals, said
        assert name == property, said
        return value

    @staticmethod
    def _must_know(status, what, user):
        if status != 0:
            whose = "" if user is None else f' under user "{user}"'
            raise RequestedAssertionFailed(f"{what}{whose} failed with exit code {status}")

    def require_unit_state(self, unit, require_state="active", state=None):
        wanted = require_state if state is None else state
        found = self.get_unit_info(unit)["ActiveState"]
        if found != wanted:
            raise RequestedAssertionFailed(
                f"Expected unit '{unit}' to to be in state '{wanted}' but it is in state '{found}'"
            )

    def start_job(self, jobname, user=None):
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname, user=None):
        return self.systemctl(f"stop {jobname}", user)

    # Files, ports, sockets

    def wait_for_file(self, filename, timeout=900):
        self._wait("wait_for_file", timeout, path=str(filename))

    def wait_for_open_port(self, port, addr="localhost", timeout=900):
        self._wait("wait_for_open_port", timeout, port=int(port), address=addr)

    def wait_for_closed_port(self, port, addr="localhost", timeout=900):
        self._wait("wait_for_closed_port", timeout, port=int(port), address=addr)

    def wait_for_open_unix_socket(self, addr, is_datagram=False, timeout=900):
        self._wait("wait_for_open_unix_socket", timeout, address=str(addr), datagram=bool(is_datagram))

    def copy_from_machine(self, source, target_dir=""):
        self._do("copy_from_machine", source=str(source), folder=str(target_dir))

    def copy_from_vm(self, source, target_dir=""):
        self.copy_from_machine(source, target_dir)

    def copy_from_host(self, source, target):
        self._do("copy_from_host", source=os.path.abspath(source), target=str(target))

    def copy_from_host_via_shell(self, source, target):
        with open(source, "rb"):
            pass
        self._do("write_from_host", source=os.path.abspath(source), target=str(target))

    # Life

    def cleanup_statedir(self):
        import shutil

        shutil.rmtree(self.state_dir)
        self.log(f"deleting machine state directory {self._places['stateDir']}")

    def start(self):
        self._begin()
        self._launched()

    def _begin(self):
        """Starts the machine without waiting for its hypervisor."""
        call(self.name, "start", allowReboot=False, environment=_changed_environment())

    def _launched(self):
        """Waits until its hypervisor runs."""
        self._ask("launched")
        self._started = True

    def wait_for_shutdown(self):
        self._wait("wait_for_shutdown", None)
        self._off()

    def release(self):
        self._ask("release")
        self._off()

    def is_up(self):
        return self.booted and self.connected


class QemuMachine(BaseMachine):
    """A virtual machine."""

    def __init__(self, info):
        super().__init__(info)
        self._console_boot = 0
        self._taken_lines = 0
        self.start_command = StartCommand(self)
        self.shell = Shell(self)
        self._disconnected = False

    # What scripts look at, and sometimes assign

    @property
    def booted(self):
        return not self._gone and self._ask("is_booted")

    @booted.setter
    def booted(self, value):
        self._gone = not value
        self._started = bool(value)

    @property
    def connected(self):
        return not self._disconnected and self._ask("is_connected")

    @connected.setter
    def connected(self, value):
        self._disconnected = not value
        if not value:
            self._ask("disconnect")

    @property
    def pid(self):
        return self._ask("pid")

    @property
    def process(self):
        return Process(self) if self.booted else None

    @property
    def qmp_client(self):
        return QMPSession(self) if self.booted else None

    @property
    def full_console_log(self):
        log = self.get_console_log()
        return log.split("\n") if log else []

    # Life

    def start(self, allow_reboot=False):
        self._begin(allow_reboot)
        self._launched()

    def _begin(self, allow_reboot=False):
        forget, self._gone = self._gone, False
        call(self.name, "start", allowReboot=bool(allow_reboot), forget=forget, environment=_changed_environment())

    def connect(self):
        self._wait("connect", None)
        self._disconnected = False

    def shutdown(self):
        self._wait("shutdown", None)
        self._off()

    def crash(self):
        self._ask("crash")
        self._off()

    def reboot(self):
        self._do("reboot")

    def switch_root(self):
        self._wait("switch_root", None)

    def block(self):
        self._do("block")

    def unblock(self):
        self._do("unblock")

    def forward_port(self, host_port=8080, guest_port=80):
        self._do("forward_port", host=int(host_port), guest=int(guest_port))

    # The monitor

    def send_monitor_command(self, command):
        return self._do("send_monitor_command", line=command)

    def wait_for_monitor_prompt(self):
        self._do("is_connected")
        return "(qemu) "

    def wait_for_qmp_event(self, event_filter, timeout=600):
        session = self.qmp_client
        if session is None:
            raise RuntimeError("QMP API is not ready yet, is the VM ready?")
        end = time.monotonic() + as_seconds(timeout)
        while True:
            event = self._next_event(max(0.0, end - time.monotonic()))
            if event is None:
                raise TimeoutError(f"{self.name}: no QMP event that the filter takes within {_shown(as_seconds(timeout))} seconds")
            if event_filter(event):
                return event

    def _next_event(self, timeout):
        return self._wait("next_qmp_event", timeout)

    # The screen and the keyboard

    def send_key(self, key, delay=0.01, log=True):
        self._do("send_key", key=key)
        if delay is not None and as_seconds(delay) > 0.01:
            time.sleep(as_seconds(delay))

    def send_chars(self, chars, delay=0.01):
        if delay is None or as_seconds(delay) <= 0.01:
            self._do("send_chars", chars=chars)
            return
        for char in chars:
            self.send_key(char, delay, log=False)

    def send_console(self, chars):
        self._do("send_console", chars=chars)

    def screenshot(self, filename):
        filename = str(filename)
        if "." not in filename:
            filename += ".png"
        if "/" not in filename:
            filename = os.path.join(self.out_dir, filename)
        if os.path.dirname(filename) == str(self.out_dir) and filename.endswith(".png"):
            self._do("screenshot", name=os.path.basename(filename))
            return
        import shutil

        shutil.move(self._do("screenshot", name=f".{os.path.basename(filename)}.png"), filename)

    def get_screen_text(self):
        return self._do("get_screen_text")

    def get_screen_text_variants(self):
        return self._do("get_screen_text_variants")

    def wait_for_text(self, regex, timeout=900):
        def matches(last):
            variants = self.get_screen_text_variants()
            if last:
                self.log(f"Last OCR attempt failed. Text was: {variants}")
            return any(re.search(regex, text) for text in variants)

        self._until(matches, timeout)

    def get_tty_text(self, tty):
        return self.execute(f"fold -w$(stty -F /dev/tty{tty} size | awk '{{print $2}}') /dev/vcs{tty}")[1]

    def wait_until_tty_matches(self, tty, regexp, timeout=900):
        matcher = re.compile(regexp)

        def matches(last):
            text = self.get_tty_text(tty)
            if last:
                self.log(f"Last chance to match /{regexp}/ on TTY{tty}, which currently contains: {text}")
            return len(matcher.findall(text)) > 0

        self._until(matches, timeout)

    def dump_tty_contents(self, tty):
        self.execute(f"fold -w 80 /dev/vcs{tty} | systemd-cat")

    def wait_for_console_text(self, regex, timeout=None):
        """Waits on the lines that no earlier wait has taken; they are matched with and without the line ends between them."""
        end = None if timeout is None else time.monotonic() + as_seconds(timeout)
        lines, partial = [], ""
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            after = self._taken_lines + len(lines)
            found = self._wait("console_lines", left, after=after, boot=self._console_boot, partial=partial)
            if found["boot"] != self._console_boot:
                # A new boot has a new console.
                self._console_boot, self._taken_lines, lines = found["boot"], 0, []
            partial = found["partial"]
            lines += [line.replace("\r", "").rstrip() for line in found["lines"]]
            # What has no end yet counts with the blanks at its end, as of a prompt, and without them.
            for last in (partial, partial.rstrip()):
                match = re.search(regex, "\n".join([*lines, last]))
                if match is not None:
                    self._taken_lines += match.string.count("\n", 0, match.end()) + 1
                    return
                if re.search(regex, "".join([*lines, last])):
                    self._taken_lines += len(lines) + 1
                    return
            if found["ended"]:
                raise MachineError(f"{self.name}: the console ended before {regex} appeared")
            if left == 0.0:
                limit = as_seconds(timeout)
                raise RequestedAssertionFailed(f"action timed out after {limit:.2f} seconds (timeout={_shown(limit)})")

    def get_console_log(self):
        lines = self._ask("console_log").replace("\r", "").split("\n")
        return "\n".join(line.rstrip() for line in lines).rstrip("\n")

    def wait_for_x(self, timeout=900):
        self._wait("wait_for_x", timeout)

    def get_window_names(self):
        return self._do("get_window_names")

    def wait_for_window(self, regexp, timeout=900):
        pattern = re.compile(regexp)

        def visible(last):
            names = self.get_window_names()
            if last:
                self.log(f"Last chance to match {regexp} on the window list, which currently contains: {', '.join(names)}")
            return any(pattern.search(name) for name in names)

        self._until(visible, timeout)

    # For people

    def shell_interact(self, address=None):
        self._ask("shell_interact", address=address)

    def console_interact(self):
        self._ask("console_interact")

    def _vsock(self, end, name=None):
        pairs = driver._vsocks
        if pairs is None or self.name not in pairs:
            raise AttributeError(_unknown(self._holder, repr(self), name or f"vsock_{end}", []))
        return pairs[self.name][end]

    @property
    def vsock_host(self):
        return _path(self._vsock("host"))

    @property
    def vsock_guest(self):
        return _path(self._vsock("guest"))

    def ssh_backdoor_command(self, index=None):
        """By the machine's socket where there is one; else by the number that the guest has."""
        if driver.vhost_vsock is None:
            return f"ssh -o User=root vsock/{index}"
        return self._vsock("command", "ssh_backdoor_command")


class NspawnMachine(BaseMachine):
    """A container. vmtest has none: the class is there for `isinstance`."""


class StartCommand(Hinted):
    """How a machine starts. Only machines with a start script have a command."""

    _holder = "start_command"

    def __init__(self, machine):
        self.__dict__["_machine"] = machine

    def __repr__(self):
        return f"the start command of {self._machine!r}"

    @property
    def _cmd(self):
        return call(self._machine.name, "start_command_of")

    def __setattr__(self, name, value):
        if name != "_cmd":
            raise AttributeError(_unknown(self._holder, repr(self), name, ["_cmd"]))
        call(self._machine.name, "set_start_command", command=value)


class Shell(Hinted):
    """The root shell that scripts write to; what it says goes nowhere."""

    _holder = "shell"

    def __init__(self, machine):
        self._machine = machine

    def __repr__(self):
        return f"the shell of {self._machine!r}"

    def send(self, data):
        text = data.decode() if isinstance(data, (bytes, bytearray, memoryview)) else data
        call(self._machine.name, "start_command", command=f"set +euo pipefail\n{text}", timeout=None)
        return len(data)

    sendall = send

    def close(self):
        """Nothing: vmtest keeps the shell."""


class Process(Hinted):
    """The hypervisor's process."""

    _holder = "process"

    def __init__(self, machine):
        self._machine = machine
        self.pid = machine.pid
        self.stdin = SimpleNamespace(
            write=lambda data: machine.send_console(data.decode() if isinstance(data, bytes) else data),
            flush=lambda: None,
        )

    def __repr__(self):
        return f"the process of {self._machine!r}"

    @property
    def returncode(self):
        return self.poll()

    def poll(self):
        return self._machine._ask("exit_code")

    def wait(self, timeout=None):
        try:
            self._machine._wait("wait_for_end", timeout)
        except RequestedAssertionFailed:
            import subprocess

            raise subprocess.TimeoutExpired(["qemu"], timeout) from None
        return self.poll()

    def terminate(self):
        self._machine.release()

    kill = terminate


class QMPSession(Hinted):
    """QEMU's machine protocol."""

    _holder = "qmp_client"

    def __init__(self, machine):
        self._machine = machine

    def __repr__(self):
        return f"the QMP client of {self._machine!r}"

    def send(self, cmd, args={}):
        return {"return": self._machine._do("qmp", command=cmd, arguments=dict(args))}

    def wait_for_event(self, timeout=10):
        event = self._machine._next_event(as_seconds(timeout))
        if event is None:
            raise queue.Empty
        return event

    def events(self, timeout=10):
        while (event := self._machine._next_event(0.0)) is not None:
            yield event

    def close(self):
        """Nothing: vmtest keeps the connection."""


class VLan(Hinted):
    """A network between machines."""

    _holder = "vlan"

    def __init__(self, info):
        self.nr = info["nr"]

    def __repr__(self):
        return f"<Vlan Nr. {self.nr}>"

    @property
    def socket_dir(self):
        return _path(call("", "vlan_socket", nr=self.nr))


# ---------------------------------------------------------------------------------------------------------------------------------------
# The driver
# ---------------------------------------------------------------------------------------------------------------------------------------


def pythonize_name(name):
    """A machine's name as an identifier."""
    return re.sub(r"^[^A-Za-z_]|[^A-Za-z0-9_]", "_", name)


class LazyTestCase:
    """`t`: a `unittest.TestCase`. Importing unittest takes a third of Python's start, and most scripts do not use it."""

    def __getattr__(self, name):
        if name.startswith("__") and name != "__class__":
            raise AttributeError(name)
        import unittest

        class AssertionTester(unittest.TestCase):
            failureException = RequestedAssertionFailed

        made = AssertionTester()
        # From now on without this method.
        self.__dict__.update({each: getattr(made, each) for each in dir(made) if not each.startswith("__")})
        return getattr(made, name)


class DebugNop(Hinted):
    """`debug`. Without a debug hook, a breakpoint is nothing, as in the original."""

    _holder = "debug"

    def __repr__(self):
        return "debug"

    def breakpoint(self, host="127.0.0.1", port=4444):
        """Nothing."""


class Debug(DebugNop):
    """`debug` with a debug hook: a breakpoint is a debugger that one connects to, at a port of the host."""

    def __init__(self, attach):
        self.attach = attach

    def breakpoint(self, host="127.0.0.1", port=4444):
        """Stops the script here, until the client that connects lets it continue."""
        debugger = self._debugger(host, port)
        # The last step: from here on everything that is called is stepped through.
        debugger.set_trace(sys._getframe(1))

    def _after(self, error):
        """Shows where the script failed to the client that connects, until it leaves."""
        debugger = self._debugger("127.0.0.1", 4444, otherwise=0)
        debugger.reset()
        debugger.interaction(None, error.__traceback__)
        debugger.stdout.close()

    def _debugger(self, host, port, otherwise=None):
        """A debugger for the first client that connects; on another port if the first is in use and there is one."""
        import pdb
        import random
        import shutil
        import socket
        import subprocess

        class Remote(pdb.Pdb):
            def get_stack(self, frame, trace):
                """Without the frames of this file; at the innermost one of the script where something was raised."""
                stack, at = super().get_stack(frame, trace)
                shown = [entry for entry in stack if entry[0].f_code.co_filename != SHIM]
                if not shown:
                    return stack, at
                own = [index for index, (one, _) in enumerate(shown) if _is_own(one.f_code.co_filename)]
                if frame is None and own:
                    return shown, own[-1]
                return shown, max(0, sum(entry[0].f_code.co_filename != SHIM for entry in stack[: at + 1]) - 1)

            def stop_here(self, frame):
                return frame.f_code.co_filename != SHIM and super().stop_here(frame)

            def do_continue(self, arg):
                leaves = super().do_continue(arg)
                if not self.breaks:
                    self.stdout.close()
                return leaves

            do_c = do_cont = do_continue

        try:
            server = socket.create_server((host, port))
        except OSError:
            if otherwise is None:
                raise
            server = socket.create_server((host, otherwise))
        with server as listener:
            # The attaching command looks for a process of this name, to find the sandbox that it is in and a shell there.
            pattern = str(random.randrange(1_000_000, 10_000_000))
            shell = {"bashInteractive": shutil.which("bash") or "/bin/sh"}
            sleep = subprocess.Popen(["sleep", pattern], stdin=subprocess.DEVNULL, env={**os.environ, **shell})
            log.log_test_error(f"Breakpoint reached, run 'sudo {self.attach} {pattern}'")
            log.log(f"the debugger listens on {host}:{listener.getsockname()[1]}")
            try:
                connection, _ = listener.accept()
            finally:
                sleep.kill()
                sleep.wait()
        stream = Conversation(connection)
        return Remote(stdin=stream, stdout=stream, nosigint=True, readrc=False)


class Conversation:
    """A connection as a file of lines. A client that has gone gets nothing, and its lines are at their end."""

    encoding = "utf-8"

    def __init__(self, connection):
        self._lines = connection.makefile("r", encoding="utf-8", errors="replace")
        self._connection = connection

    def write(self, text):
        try:
            self._connection.sendall(text.encode())
        except OSError:
            pass
        return len(text)

    def readline(self):
        try:
            return self._lines.readline()
        except (OSError, ValueError):
            return ""

    def flush(self):
        """Nothing: all is sent at once."""

    def close(self):
        self._lines.close()
        self._connection.close()


class Driver(Hinted):
    """The driver of the test."""

    _holder = "driver"

    def __init__(self):
        self.polling_conditions = []
        self.machines_qemu = []
        self.machines_nspawn = []
        self.vlans = []
        self.logger = log
        self.debug = DebugNop()
        self._vsocks = None

    def __repr__(self):
        return "driver"

    def _begin(self, frame):
        self._frame = frame
        self.tests = frame["script"]["text"]
        self.global_timeout = frame["timeout"]
        if frame["debugHook"] is not None:
            self.debug = Debug(frame["debugHook"])
        self._vsocks = frame["vsocks"]
        self.machines_qemu = [QemuMachine(info) for info in frame["machines"]]
        self.vlans = [VLan(info) for info in frame["vlans"]]
        self.config = SimpleNamespace(
            vms={
                info["name"]: SimpleNamespace(
                    name=info["name"], start_script=info["startScript"] and _path(info["startScript"].strip("'"))
                )
                for info in frame["machines"]
            },
            containers={},
            vlans=[info["nr"] for info in frame["vlans"]],
            global_timeout=frame["timeout"],
            enable_ssh_backdoor=frame["vsocks"] is not None,
            test_script=_path(frame["script"]["file"]),
        )

    @property
    def vhost_vsock(self):
        """The sockets of the SSH backdoors, by machine; None if there are none."""
        if self._vsocks is None:
            return None
        ends = {name: {end: _path(pair[end]) for end in ("guest", "host")} for name, pair in self._vsocks.items()}
        return SimpleNamespace(sockets={name: SimpleNamespace(name=name, **pair) for name, pair in ends.items()})

    @property
    def out_dir(self):
        folder = _path(self._frame["outDir"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def machines(self):
        return sorted(self.machines_qemu + self.machines_nspawn, key=lambda machine: machine.name)

    def start_all(self):
        """Starts the machines, without waiting until they are ready."""
        # Together: a start script may take its time.
        for machine in self.machines:
            machine._begin()
        for machine in self.machines:
            machine._launched()

    def join_all(self):
        for machine in self.machines:
            machine.wait_for_shutdown()

    def create_machine(self, start_command, *, name=None, keep_machine_state=False):
        if isinstance(start_command, dict):
            name = start_command.get("name", name)
            start_command = start_command["startCommand"]
        made = call(
            "",
            "create_machine",
            command=str(start_command),
            name=name,
            keep=bool(keep_machine_state),
            environment=_changed_environment(),
        )
        return QemuMachine(made)

    @contextmanager
    def subtest(self, name):
        outer = _within.subtest
        number = call("", "begin_subtest", name=str(name))
        _within.subtest = number
        try:
            yield
        except BaseException as error:
            _within.subtest = outer
            if not isinstance(error, Stopped):
                call("", "end_subtest", number=number, raised=_described(error))
            raise
        _within.subtest = outer
        call("", "end_subtest", number=number)

    def check_polling_conditions(self):
        for condition in self.polling_conditions:
            condition.maybe_raise()

    def polling_condition(self, fun_=None, *, seconds_interval=2.0, description=None, **older):
        fun_ = older.get("fun", fun_)
        owner = self

        class Poll:
            def __init__(self, fun):
                self.condition = PollingCondition(fun, log, seconds_interval, description)

            def __enter__(self):
                owner.polling_conditions.append(self.condition)

            def __exit__(self, *_):
                gone = owner.polling_conditions.pop()
                assert gone is self.condition

            def wait(self, timeout=900):
                retry(lambda _: self.condition.check(force=True), timeout_seconds=timeout)

        return Poll if fun_ is None else Poll(fun_)

    def serial_stdout_on(self):
        """For `nixos-test-driver`; `vmtest run --verbose` always shows consoles."""
        call("", "show_consoles", shown=True)

    def serial_stdout_off(self):
        """For `nixos-test-driver`; `vmtest run --verbose` always shows consoles."""
        call("", "show_consoles", shown=False)

    def dump_machine_ssh(self, offset=0):
        width = max((len(machine.name) for machine in self.machines), default=0)
        print("SSH backdoor enabled, the machines can be accessed like this:")
        for index, machine in enumerate(self.machines, start=offset + 1):
            print(f"    {machine.name}:{' ' * (width - len(machine.name) + 2)}{machine.ssh_backdoor_command(index)}")

    def terminate_test(self):
        raise Stopped()

    def test_symbols(self):
        symbols = {name: getattr(self, name) for name in DRIVER_SYMBOLS}
        symbols.update(
            driver=self,
            log=log,
            os=os,
            retry=retry,
            debug=self.debug,
            t=LazyTestCase(),
            BaseMachine=BaseMachine,
            QemuMachine=QemuMachine,
            NspawnMachine=NspawnMachine,
            Machine=QemuMachine,
        )
        machines = self.machines
        symbols.update((pythonize_name(machine.name), machine) for machine in machines)
        if len(machines) == 1:
            symbols["machine"] = machines[0]
        symbols.update((f"vlan{vlan.nr}", vlan) for vlan in self.vlans)
        return symbols

    def test_script(self):
        script = self._frame["script"]
        import linecache

        # Tracebacks that the script prints have its lines, wherever the text came from.
        linecache.cache[script["file"]] = (len(self.tests), None, self.tests.splitlines(True), script["file"])
        code = compile(self.tests, script["file"], "exec", dont_inherit=True)
        exec(code, {"__name__": "__main__", "__file__": script["file"], **self.test_symbols()})

    def run_tests(self):
        self.test_script()
        for machine in self.machines:
            if machine.is_up():
                machine.execute("sync")


DRIVER_SYMBOLS = [
    *["start_all", "join_all", "test_script", "run_tests", "machines", "machines_qemu", "machines_nspawn", "vlans"],
    *["create_machine", "subtest", "serial_stdout_on", "serial_stdout_off", "polling_condition", "dump_machine_ssh"],
]

log = AbstractLogger()
driver = Driver()


# ---------------------------------------------------------------------------------------------------------------------------------------
# The package test_driver, for scripts that import it
# ---------------------------------------------------------------------------------------------------------------------------------------


def _package():
    errors = dict(
        TestScriptError=TestScriptError,
        MachineError=MachineError,
        RequestedAssertionFailed=RequestedAssertionFailed,
        NotAvailable=NotAvailable,
    )
    qmp = dict(QMPAPIError=QMPAPIError, QMPSession=QMPSession)
    machines = dict(
        BaseMachine=BaseMachine, QemuMachine=QemuMachine, NspawnMachine=NspawnMachine, Machine=QemuMachine, retry=retry
    )
    modules = {
        "test_driver": {},
        "test_driver.debug": dict(DebugAbstract=DebugNop, DebugNop=DebugNop),
        "test_driver.driver": dict(Driver=Driver, pythonize_name=pythonize_name),
        "test_driver.duration": dict(as_seconds=as_seconds),
        "test_driver.errors": errors,
        "test_driver.logger": dict(AbstractLogger=AbstractLogger),
        "test_driver.machine": {**machines, **errors, **qmp},
        "test_driver.machine.qmp": qmp,
        "test_driver.polling_condition": dict(
            PollingCondition=PollingCondition, PollingConditionError=PollingConditionError
        ),
        "test_driver.qmp": qmp,
        "test_driver.vlan": dict(VLan=VLan),
    }
    for name, names in modules.items():
        module = ModuleType(name, "A part of the NixOS test driver, as vmtest has it.")
        module.__path__ = []
        module.__dict__.update(names)
        module.__getattr__ = lambda wanted, module=module: _no_such_name(module, wanted)
        sys.modules[name] = module
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)


def _no_such_name(module, name):
    if name.startswith("__"):
        raise AttributeError(name)
    raise AttributeError(_unknown(module.__name__, f"the module {module.__name__}", name, dir(module)))


# ---------------------------------------------------------------------------------------------------------------------------------------
# How the script ends
# ---------------------------------------------------------------------------------------------------------------------------------------

_raised = itertools.count(1)


def _is_own(file):
    """Whether a file is the user's: not this one, nor a part of Python or of a package."""
    library = os.path.dirname(os.__file__)
    return file != SHIM and not file.startswith(("<", library)) and "site-packages" not in file


def _columns(code, instruction):
    if not hasattr(code, "co_positions"):
        return 0
    position = next(itertools.islice(code.co_positions(), instruction // 2, None), (None,) * 4)
    return position[2] or 0


def _frames(error):
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_own(code.co_filename):
            frames.append(
                {
                    "file": code.co_filename,
                    "line": trace.tb_lineno,
                    "column": _columns(code, trace.tb_lasti) + 1,
                    "function": code.co_name,
                }
            )
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno is not None and error.filename is not None:
        place = {"file": error.filename, "line": error.lineno, "column": max(1, error.offset or 1), "function": "<module>"}
        frames.append(place)
    return frames[::-1]


def _described(error, depth=0):
    """An exception as vmtest tells it; the same one always has the same number."""
    if not hasattr(error, "_vmtest_number"):
        try:
            error._vmtest_number = next(_raised)
        except AttributeError:
            pass
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:
        message = ""
    return {
        "number": getattr(error, "_vmtest_number", 0),
        "type": type(error).__qualname__,
        "message": message,
        "frames": _frames(error),
        "call": getattr(error, "_vmtest_call", 0),
        "exit": error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else None,
        "cause": None if cause is None or depth > 5 else _described(cause, depth + 1),
    }


def _thread_failed(args):
    """Prints what a thread failed with, without the frames of this file, and of Python's own around them."""
    if args.exc_value is None or isinstance(args.exc_value, (Stopped, SystemExit)):
        return
    import traceback

    shown = traceback.TracebackException(args.exc_type, args.exc_value, args.exc_traceback)
    one = shown
    while one is not None:
        kept = [frame for frame in one.stack if _is_own(frame.filename)]
        one.stack[:] = kept or one.stack
        one = one.__cause__ or one.__context__
    name = "a thread" if args.thread is None else args.thread.name
    sys.stderr.write(f"Exception in thread {name}:\n{''.join(shown.format())}")
    told = getattr(args.exc_value, "_vmtest_told", None)
    if told:
        sys.stderr.write(f"{told}\n")
    sys.stderr.flush()


def _on_terminate(*_):
    global _stopping
    _stopping = True
    raise Stopped()


def _is_success(error):
    return isinstance(error, SystemExit) and error.code in (None, 0)


class Interrupts:
    """Ctrl-C at the prompt: it interrupts the line that runs, and drops the one that is typed. One that comes between them waits for the next."""

    def __init__(self):
        self._raises = False
        self._waits = False
        self._seen = False

    def take(self):
        arrived, arrives = os.pipe()
        os.set_blocking(arrives, False)
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGURG, lambda *_: None)
        signal.set_wakeup_fd(arrives, warn_on_full_buffer=False)
        threading.Thread(target=self._wake, args=(arrived,), name="vmtest-interrupts", daemon=True).start()
        # Until now, Ctrl-C has ended the session.
        call("", "pass_interrupts", passed=True)

    def during(self, run, *args):
        """Runs what Ctrl-C interrupts. Elsewhere nothing would catch the exception, and it would end the session."""
        try:
            self._raises = True
            if self._waits:
                self._waits = False
                raise KeyboardInterrupt
            return run(*args)
        finally:
            self._raises = False

    def _interrupt(self, *_):
        self._seen = True
        if self._raises:
            raise KeyboardInterrupt
        self._waits = True

    def _wake(self, arrived):
        """
        Python looks for signals before it waits for a key, or sleeps. One that comes right after that would be found when the wait ends. So another
        signal, which does nothing, ends the wait.
        """
        main = threading.main_thread().ident
        while True:
            if signal.SIGINT not in os.read(arrived, 4096):
                continue
            for _ in range(20):
                time.sleep(0.05)
                if self._seen:
                    break
                signal.pthread_kill(main, signal.SIGURG)
            self._seen = False


def _prompt(history):
    """A prompt with the names of the script."""
    import code

    interrupts = Interrupts()

    class Console(code.InteractiveConsole):
        def raw_input(self, prompt=""):
            return interrupts.during(super().raw_input, prompt)

        def runcode(self, code):
            return interrupts.during(super().runcode, code)

        def showtraceback(self):
            import traceback

            shown = traceback.TracebackException(*sys.exc_info())
            # Without the lines of this file, from which everything is called.
            shown.stack[:] = [frame for frame in shown.stack if frame.filename not in (SHIM, code.__file__)]
            self.write("".join(shown.format()))

    symbols = {"__name__": "__console__", "__doc__": None, **driver.test_symbols()}
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    if interactive:
        try:
            import readline
            import rlcompleter

            readline.set_completer(rlcompleter.Completer(symbols).complete)
            readline.parse_and_bind("tab: complete")
            readline.set_history_length(10_000)
            if os.path.exists(history):
                readline.read_history_file(history)
        except (ImportError, OSError):
            readline = None
    else:
        sys.ps1 = sys.ps2 = ""
        readline = None
    names = ", ".join(pythonize_name(machine.name) for machine in driver.machines)
    banner = f"machines: {names}; start_all() starts them, test_script() runs the script, Ctrl-D leaves" if interactive else ""
    interrupts.take()
    try:
        Console(symbols).interact(banner=banner, exitmsg="")
    finally:
        if readline is not None:
            try:
                readline.write_history_file(history)
            except OSError:
                pass
        if not _stopping:
            call("", "pass_interrupts", passed=False)


def _can_be_looked_at(error):
    """Whether there is something to see where an exception was raised, and the client has not just left the debugger."""
    return isinstance(error, Exception) and not isinstance(error, SyntaxError) and type(error).__name__ != "BdbQuit"


def _run(history):
    """Gives what the script failed with, once all that it started has ended."""
    failed = None
    try:
        driver.test_script() if history is None else _prompt(history)
    except BaseException as error:
        failed = None if _is_success(error) else error
    if history is None and isinstance(driver.debug, Debug) and _can_be_looked_at(failed):
        try:
            driver.debug._after(failed)
        except OSError as error:
            log.log_test_error(f"could not open the debugger: {error}")
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    import atexit

    atexit._run_exitfuncs()
    return failed


def main():
    os.set_inheritable(CHANNEL, False)
    os.register_at_fork(after_in_child=_leave_channel)
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGTERM, _on_terminate)
    threading.excepthook = _thread_failed
    sys.argv = ["test-script"]
    lines = _lines()
    frame = json.loads(next(lines))
    _hints.update(frame["hints"])
    # As for any script: what is beside it can be imported.
    sys.path.insert(0, frame["script"]["folder"])
    driver._begin(frame)
    _package()
    threading.Thread(target=_read, args=(lines,), name="vmtest", daemon=True).start()
    try:
        failed = _run(frame["history"])
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        _send({"t": "done"} if failed is None else {"t": "failed", "raised": _described(failed)})
    except (Stopped, OSError):
        failed = True
    # Not by the interpreter's own end: daemon threads may hold what it waits for.
    os._exit(0 if failed is None else 1)


def check():
    """`shim.py --check FILE`: prints where a script is not valid Python, as JSON."""
    file = sys.argv[2]
    with open(file, "rb") as source:
        text = source.read()
    try:
        compile(text, file, "exec", dont_inherit=True)
        print("null")
    except (SyntaxError, ValueError) as error:
        line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        print(json.dumps({"line": line, "column": max(1, column), "message": message}))


def names():
    """`shim.py --names`: every name that there is, as JSON, for the tests of the table of names."""
    info = {"name": "web", "stateDir": "/", "sharedDir": "/", "tmpDir": "/"}
    machine = QemuMachine(info)
    holders = {
        "machine": [*dir(machine)],
        "driver": [*dir(driver), "tests", "config", "global_timeout"],
        "log": dir(log),
        "vlan": [*dir(VLan({"nr": 1}))],
        "qmp_client": dir(QMPSession),
        "process": [*dir(Process), "pid", "stdin"],
        "shell": dir(Shell),
        "start_command": ["_cmd"],
        "debug": dir(DebugNop),
        "script": [name for name in driver.test_symbols()],
    }
    shown = {holder: sorted({name for name in all if name == "_cmd" or not name.startswith("_")}) for holder, all in holders.items()}
    print(json.dumps(shown))


if __name__ == "__main__":
    if sys.version_info < (3, 9):
        sys.exit(f"Python 3.9 or newer is needed; this is {sys.version.split()[0]}")
    {"--check": check, "--names": names}.get(sys.argv[1] if len(sys.argv) > 1 else "", main)()
