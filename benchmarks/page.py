"""Open a page in headless Chromium, from disk, and compare its answers with those of the run.

    unrolled export RUN --page page.html
    python benchmarks/page.py RUN page.html [--n 200] [--shots FOLDER] [--axe axe.min.js]

Prints how many answers are the same, the size of the file, the time until it is ready, the time of an
answer, all that the browser logs, and all requests; with --axe (the file of the npm package axe-core)
also what its rules find, in light and dark, wide and narrow. Answers count as the same if their text,
label or tags are; in float32, scores and probabilities are compared, too, as before an export.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import unrolled
from unrolled.exports.gate import Agreement, compare_answers
from unrolled.exports.inputs import inputs_for

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--remote-debugging-pipe", "--no-first-run", "--disable-extensions"),
)


class Browser:
    """Chromium, controlled through its debugging pipe."""

    def __init__(self, program: str) -> None:
        # Chromium reads from descriptor 3 and writes to 4, which may be ends of our own pipes.
        ends = (*os.pipe(), *os.pipe())
        read, there, here, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
        for end, place in ((here, 3), (there, 4)):
            os.dup2(end, place)
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [program, *_OPTIONS, f"--user-data-dir={self._profile.name}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._write, self._read = os.fdopen(write, "wb"), os.fdopen(read, "rb")
        self._number, self._rest, self.session = 0, b"", None
        self.events: list[dict[str, Any]] = []

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command, and return its result; events that come first are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            found = self._message()
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                result: dict[str, Any] = found["result"]
                return result
            self.events.append(found)

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read.fileno(), 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def open(self, page: Path) -> None:
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Page.navigate", url=page.resolve().as_uri())
        while not self.value(
            "document.documentElement?.dataset.ready || document.querySelector('.alarm')?.textContent"
        ):
            time.sleep(0.2)

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def screenshot(self, path: Path, width: int, scheme: str) -> None:
        self.show(width, scheme)
        found = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def show(self, width: int, scheme: str) -> None:
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def close(self) -> None:
        self.session = None
        self("Browser.close")
        self._process.wait()
        self._profile.cleanup()


def type_in(browser: Browser, inputs: Any) -> None:
    """Type an input into the fields of the page."""
    texts = [inputs] if isinstance(inputs, str) else list(inputs)
    for name, text in zip(("text", "second"), texts, strict=False):
        field = f"document.getElementById('{name}')"
        browser.value(
            f"{field}.value = {json.dumps(text)};"
            f"{field}.dispatchEvent(new Event('input', {{ bubbles: true }}))"
        )
    time.sleep(1)


def sentences(predictor: Any, n: int) -> list[Any]:
    """Held-out texts, and awkward ones."""
    import unrolled.exports.inputs as given

    given.MOST_TEXTS, given._N_MADE = n, n
    inputs = inputs_for(predictor)
    return [*inputs.awkward, *inputs.texts][: max(n, len(inputs.awkward))]


def measure(browser: Browser, predictor: Any, texts: Sequence[Any]) -> None:
    found, times = [], []
    for text in texts:
        answer, ms = browser.value(
            "(() => { const before = performance.now(); const answer = model.predict("
            f"{json.dumps(text)}); return [answer, performance.now() - before]; }})()"
        )
        found.append(answer)
        times.append(ms)
    expected = plain_answers(predictor, texts)
    same = [plain(each) == other for each, other in zip(found, expected, strict=True)]
    print(f"the same text, label or tags: {sum(same)} of {len(texts)}")
    agreement, problems = Agreement(""), []
    for text, answer in zip(texts, found, strict=True):
        try:
            compare_answers([text], [answer], predictor, agreement, "the page")
        except unrolled.RunError as error:
            problems.append(str(error)[:200])
    print(f"within 1e-4 of the float32 run: {agreement.n_answers} (ties: {agreement.n_ties})")
    for problem in problems[:2]:
        print(f"  {problem}")
    middle = sorted(times)[len(times) // 2]
    print(f"an answer takes {middle:.1f} ms (median; {min(times):.1f} to {max(times):.1f})")


def plain(answer: dict[str, Any]) -> Any:
    """An answer without its numbers."""
    return answer["text"] if "text" in answer else answer["labels"]


def plain_answers(predictor: Any, texts: Sequence[Any]) -> list[Any]:
    if predictor.task.name == "language_model":
        return [predictor.generate(text, max_tokens=40, temperature=0) for text in texts]
    found = [predictor.predict([text])[0] for text in texts]
    if predictor.task.name == "translate":
        return [each.text for each in found]
    return [list(each.labels) for each in found]


def report(browser: Browser) -> None:
    """What the browser logged and asked for."""
    kinds = [event.get("method") for event in browser.events]
    logged = [
        event["params"]
        for event in browser.events
        if event.get("method")
        in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    ]
    print(f"logged: {logged or 'nothing'}")
    requests = [
        event["params"]["request"]["url"][:80]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    print(f"requests: {requests} of {len(kinds)} events")


def accessibility(browser: Browser, axe: Path) -> None:
    browser("Runtime.evaluate", expression=axe.read_text(encoding="utf-8"))
    for width in (1000, 390):
        for scheme in ("light", "dark"):
            browser.show(width, scheme)
            found = browser.value(
                "axe.run().then(({ violations }) => violations.map(({ id, impact, nodes }) => "
                "[id, impact, nodes.map(({ html }) => html.slice(0, 120))]))"
            )
            print(f"axe, {scheme}, {width} pixels: {found or 'no violation'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run")
    parser.add_argument("page", type=Path)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--chromium", default="chromium")
    given = parser.parse_args()
    predictor = unrolled.load(given.run)
    texts = sentences(predictor, given.n)
    browser = Browser(given.chromium)
    browser.open(given.page)
    print(f"{given.page}: {given.page.stat().st_size:,} bytes")
    print(
        f"ready after {browser.value('document.documentElement.dataset.ready')} ms; "
        f"{browser.value('document.getElementById(`state`)?.textContent')}"
    )
    measure(browser, predictor, texts)
    shown = next(text for text in reversed(texts) if len(str(text).split()) > 4)
    type_in(browser, " ".join(shown) if isinstance(shown, list) else shown)
    if given.axe:
        accessibility(browser, given.axe)
    if given.shots:
        given.shots.mkdir(parents=True, exist_ok=True)
        for name, width, scheme in (
            ("light", 1000, "light"),
            ("dark", 1000, "dark"),
            ("narrow", 390, "light"),
        ):
            browser.screenshot(given.shots / f"{given.page.stem}-{name}.png", width, scheme)
    report(browser)
    browser.close()


if __name__ == "__main__":
    main()
