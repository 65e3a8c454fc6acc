"""What the drivers of Python libraries share: the loop over JSON lines.

One request a line on standard input, `{"do": VERB, ...}`; one answer a line on standard output, `{"error": ...}` if it
failed. Ends with its standard input.
"""

import asyncio
import json
import ssl
import sys
import traceback

IDLE_TURNS = 4


class Driver:
    """A client of one library. What does not begin with `_` is a verb; each library offers what it can do."""

    def _trust(self, request):
        """How the server's certificate is checked: by the root that the test names."""
        return ssl.create_default_context(cafile=request["root"]) if request["root"] else None

    async def _turn(self):
        """One sync, and everything that the library does because of it."""
        raise NotImplementedError

    async def _close(self):
        raise NotImplementedError

    async def idle(self, request):
        """Lets the library answer what others have asked of it, which takes it several turns."""
        for _ in range(IDLE_TURNS):
            await self._turn()
        return {}

    async def _until(self, look):
        """Syncs until `look` gives something."""
        while not (found := look()):
            await self._turn()
        return found


async def serve(driver):
    """Answers requests until there are no more."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = await getattr(driver, request["do"])(request)
        except Exception as error:  # Whatever it was, the test that asked shall show it.
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    await driver._close()
