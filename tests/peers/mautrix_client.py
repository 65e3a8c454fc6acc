"""A mautrix client driven by JSON lines.

One request a line on standard input, `{"do": VERB, ...}`; one answer a line on standard output, `{"error": ...}` if it
failed. Ends with its standard input.
"""

import asyncio
import json
import ssl
import sys
import traceback

import aiohttp
from mautrix.api import HTTPAPI
from mautrix.client import Client
from mautrix.client.state_store.memory import MemoryStateStore
from mautrix.crypto import OlmMachine, PgCryptoStore
from mautrix.types import EventType, MessageType, RoomID, TextMessageEventContent, TrustState, UserID
from mautrix.util.async_db import Database

SYNC_TIMEOUT_MS = 1_000


class StateStore(MemoryStateStore):
    """Knows, besides, with whom we share rooms."""

    async def find_shared_rooms(self, user):
        return [room for room, members in self.members.items() if user in members]


class Driver:
    def __init__(self):
        self.client = None
        self.since = None
        self.texts = []

    async def login(self, request):
        trust = ssl.create_default_context(cafile=request["root"]) if request["root"] else None
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))
        self.api = HTTPAPI(base_url=request["homeserver"], client_session=session)
        self.state = StateStore()
        self.client = Client(mxid=UserID(request["user"]), api=self.api, state_store=self.state)
        answer = await self.client.login(
            request["user"], password=request["password"], device_name="mautrix", update_hs_url=False
        )
        self.db = Database.create(
            f"sqlite:{request['store']}/crypto.db", upgrade_table=PgCryptoStore.upgrade_table
        )
        await self.db.start()
        store = PgCryptoStore(str(answer.device_id), "pickle", self.db)
        await store.open()
        self.client.crypto = crypto = OlmMachine(self.client, store, self.state)
        # Keys for whoever is there, as most bots have it.
        crypto.share_keys_min_trust = TrustState.UNVERIFIED
        crypto.send_keys_min_trust = TrustState.UNVERIFIED
        await crypto.load()
        await crypto.share_keys()
        self.client.add_event_handler(EventType.ROOM_MESSAGE, self.on_text)
        await self.turn()
        return {"device_id": str(answer.device_id)}

    async def on_text(self, event):
        # The library marks what it has decrypted.
        decrypted = (event.get("mautrix") or {}).get("was_encrypted", False)
        self.texts.append((event.room_id, event.sender, event.content.body, decrypted))

    async def turn(self):
        """One sync, and everything that the library does because of it."""
        data = await self.client.sync(since=self.since, timeout=SYNC_TIMEOUT_MS)
        tasks = self.client.handle_sync(data)
        await asyncio.gather(*tasks)
        self.since = data["next_batch"]

    async def join(self, request):
        await self.client.join_room_by_id(RoomID(request["room"]))
        while not await self.state.is_encrypted(RoomID(request["room"])):
            await self.turn()
        return {}

    async def trust(self, request):
        room = RoomID(request["room"])
        while True:
            members = await self.state.get_members(room) or []
            if await self.state.is_encrypted(room) and all(user in members for user in request["users"]):
                return {}
            await self.turn()

    async def send(self, request):
        room = RoomID(request["room"])
        content = TextMessageEventContent(msgtype=MessageType.TEXT, body=request["body"])
        event_id = await self.client.send_message_event(room, EventType.ROOM_MESSAGE, content)
        return {"event_id": str(event_id)}

    async def wait(self, request):
        while True:
            for room, sender, body, decrypted in self.texts:
                if room == request["room"] and body == request["body"]:
                    return {"sender": sender, "decrypted": decrypted}
            await self.turn()


async def main():
    driver = Driver()
    verbs = {verb: getattr(driver, verb) for verb in ("login", "join", "trust", "send", "wait")}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = await verbs[request["do"]](request)
        except Exception as error:  # Whatever it was, the test that asked shall show it.
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    if driver.client:
        await driver.db.stop()
        await driver.api.session.close()


asyncio.run(main())
