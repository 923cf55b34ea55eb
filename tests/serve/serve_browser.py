"""A headless Chromium driven over its debugging pipe: no driver, no package."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--remote-debugging-pipe")  # fmt: skip


def find_browser() -> str | None:
    """HFC_TEST_BROWSER, or a Chromium on the path."""
    return os.environ.get("HFC_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def browser_page(profile, *arguments):
    """A page of a browser with a fresh profile."""
    commands, answers = os.pipe(), os.pipe()

    def place_pipes():
        """The browser reads commands from file 3 and writes to file 4."""
        reading, writing = os.dup(commands[0]), os.dup(answers[1])
        os.dup2(reading, 3)
        os.dup2(writing, 4)

    process = subprocess.Popen(
        [find_browser(), *ARGUMENTS, *arguments, f"--user-data-dir={profile}", "about:blank"], preexec_fn=place_pipes, pass_fds=(3, 4),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands[0])
    os.close(answers[1])
    try:
        yield Page(commands[1], answers[0])
    finally:
        process.kill()
        process.wait(10)
        os.close(commands[1])


class Page:
    """events: what the page reported, by method."""

    def __init__(self, commands: int, answers: int):
        self._commands, self._answers, self._number = commands, queue.Queue(), 0
        self.events: list[tuple[str, dict]] = []
        threading.Thread(target=self._read, args=(answers,), daemon=True).start()
        self._session = None
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params):
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": params,
            **({"sessionId": self._session} if self._session else {}),
        }
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 30
        while True:
            answer = self._answers.get(timeout=max(0.01, end - time.monotonic()))
            if answer["id"] == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def run(self, script: str):
        """The value of a JavaScript expression; a promise is awaited."""
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script: str, seconds: float = 15):
        """Until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"!!({script})"):  # an element comes as {}, which is false here
            assert time.monotonic() < end, (
                f"{script} did not become true; the page shows {self.run('document.body.innerText')!r}"
            )
            time.sleep(0.03)

    def type(self, text: str) -> None:
        """As if typed where the focus is."""
        self.send("Input.insertText", text=text)

    def press_enter(self) -> None:
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        self.send("Input.dispatchKeyEvent", type="keyDown", **key)
        self.send("Input.dispatchKeyEvent", type="keyUp", **key)

    def _read(self, answers: int) -> None:
        with os.fdopen(answers, "rb") as file:
            held = b""
            while part := file.read1(1 << 16):
                *messages, held = (held + part).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.put(message)
                    else:
                        self.events.append((message["method"], message["params"]))
