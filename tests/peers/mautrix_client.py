"""A mautrix client driven by JSON lines."""

import asyncio

import aiohttp
from driver import Driver, serve
from mautrix.api import HTTPAPI
from mautrix.client import Client
from mautrix.client.state_store.memory import MemoryStateStore
from mautrix.crypto import OlmMachine, PgCryptoStore
from mautrix.crypto.attachments import decrypt_attachment, encrypt_attachment
from mautrix.types import EncryptedFile, EventType, RoomID, TrustState, UserID
from mautrix.util.async_db import Database

SYNC_TIMEOUT_MS = 1_000


class StateStore(MemoryStateStore):
    """Knows, besides, with whom we share rooms."""

    async def find_shared_rooms(self, user):
        return [room for room, members in self.members.items() if user in members]


class MautrixClient(Driver):
    def __init__(self):
        self.client = None
        self.since = None
        self.events = {}

    async def login(self, request):
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._trust(request) or True))
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
        self.client.crypto = self.crypto = crypto = OlmMachine(self.client, store, self.state)
        # Keys for whoever is there, as most bots have it, or only for those who were verified.
        least = TrustState.VERIFIED if request.get("strict") else TrustState.UNVERIFIED
        crypto.share_keys_min_trust = crypto.send_keys_min_trust = least
        await crypto.load()
        await crypto.share_keys()
        self.client.add_event_handler(EventType.ALL, self._on_event)
        await self._turn()
        return {"device_id": str(answer.device_id), "fingerprint": crypto.account.signing_key}

    async def _on_event(self, event):
        if getattr(event, "event_id", None):
            self.events[event.event_id] = event

    async def _turn(self):
        data = await self.client.sync(since=self.since, timeout=SYNC_TIMEOUT_MS)
        tasks = self.client.handle_sync(data)
        await asyncio.gather(*tasks)
        self.since = data["next_batch"]

    async def _close(self):
        if self.client:
            await self.db.stop()
            await self.api.session.close()

    async def join(self, request):
        await self.client.join_room_by_id(RoomID(request["room"]))
        while not await self.state.is_encrypted(RoomID(request["room"])):
            await self._turn()
        return {}

    async def meet(self, request):
        room = RoomID(request["room"])
        while True:
            members = await self.state.get_members(room) or []
            if await self.state.is_encrypted(room) and all(user in members for user in request["users"]):
                return {}
            await self._turn()

    async def know(self, request):
        """Waits until a device is known and trusted so far."""
        least = {
            "known": TrustState.UNVERIFIED,
            "signed": TrustState.CROSS_SIGNED_TOFU,
            "verified": TrustState.CROSS_SIGNED_TRUSTED,
        }[request["trust"]]
        while True:
            device = await self.crypto.get_or_fetch_device(request["user"], request["device"])
            if device and await self.crypto.resolve_trust(device) >= least:
                return {}
            await self._turn()

    async def send(self, request):
        kind = EventType.find(request["type"], t_class=EventType.Class.MESSAGE)
        event_id = await self.client.send_message_event(RoomID(request["room"]), kind, request["content"])
        return {"event_id": str(event_id)}

    async def _opened(self, request):
        """The event as the library decrypted it, or decrypts it now that its key has come."""
        while True:
            event = self.events.get(request["event_id"])
            if event is not None and event.type == EventType.ROOM_ENCRYPTED:
                held = await self.crypto.crypto_store.has_group_session(event.room_id, event.content.session_id)
                if held:
                    event = await self.crypto.decrypt_megolm_event(event)
                    event["mautrix"] = {"was_encrypted": True}
                else:
                    event = None
            if event is not None:
                return event
            await self._turn()

    async def read(self, request):
        event = await self._opened(request)
        # The library marks what it has decrypted.
        decrypted = (event.get("mautrix") or {}).get("was_encrypted", False)
        return {
            "sender": str(event.sender), "type": str(event.type), "content": event.content.serialize(),
            "decrypted": decrypted,
        }

    async def request_key(self, request):
        event = self.events[request["event_id"]]
        wanted = (event.room_id, event.content.sender_key, event.content.session_id)
        await self.crypto.request_room_key(*wanted, {UserID(request["user"]): [request["device"]]}, timeout=0)
        return {}

    async def identity(self, request):
        self.recovery_key = await self.crypto.generate_recovery_key()
        return {}

    async def keep(self, request):
        """Its secret storage came with the identity."""
        return {"recovery_key": self.recovery_key}

    async def open(self, request):
        await self.crypto.verify_with_recovery_key(request["recovery_key"])
        return {}

    async def upload(self, request):
        sealed, file = encrypt_attachment(request["text"].encode())
        file.url = await self.client.upload_media(sealed, mime_type="application/octet-stream")
        content = {"msgtype": "m.file", "body": request["name"], "file": file.serialize()}
        return await self.send(request | {"type": "m.room.message", "content": content})

    async def download(self, request):
        file = EncryptedFile.deserialize((await self.read(request))["content"]["file"])
        sealed = await self.client.download_media(file.url)
        text = decrypt_attachment(sealed, file.key.key, file.hashes["sha256"], file.iv)
        return {"text": text.decode()}


asyncio.run(serve(MautrixClient()))
