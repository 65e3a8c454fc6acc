"""A matrix-nio client driven by JSON lines."""

import asyncio
import io
import sys

import nio
from driver import Driver, serve
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment

SYNC_TIMEOUT_MS = 1_000


class NioClient(Driver):
    def __init__(self):
        self.client = None
        self.events = {}

    async def login(self, request):
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        self.client = nio.AsyncClient(
            request["homeserver"], request["user"], store_path=request["store"], config=config,
            ssl=self._trust(request),
        )
        self.client.add_event_callback(self._on_event, nio.Event)
        answer = self._check(await self.client.login(request["password"], device_name="matrix-nio"))
        await self._turn()
        fingerprint = self.client.olm.account.identity_keys["ed25519"]
        return {"device_id": answer.device_id, "fingerprint": fingerprint}

    async def _on_event(self, room, event):
        if isinstance(event, nio.MegolmEvent):
            print(f"matrix-nio could not decrypt {event.event_id} of {event.sender}", file=sys.stderr)
        self.events[event.event_id] = event

    def _check(self, answer):
        if isinstance(answer, nio.ErrorResponse):
            raise RuntimeError(f"{type(answer).__name__}: {answer.message} ({answer.status_code})")
        return answer

    async def _turn(self):
        client = self.client
        self._check(await client.sync(SYNC_TIMEOUT_MS, full_state=client.next_batch is None))
        if client.should_upload_keys:
            self._check(await client.keys_upload())
        if client.should_query_keys:
            self._check(await client.keys_query())
        if client.should_claim_keys:
            self._check(await client.keys_claim(client.get_users_for_key_claiming()))
        for answer in await client.send_to_device_messages():
            self._check(answer)

    async def _close(self):
        if self.client:
            await self.client.close()

    async def join(self, request):
        self._check(await self.client.join(request["room"]))
        await self._until(lambda: request["room"] in self.client.rooms)
        return {}

    async def meet(self, request):
        """The library sends nothing to devices of which it was not told what to think: they are all trusted."""
        client, store = self.client, self.client.device_store

        def ready():
            room = client.rooms.get(request["room"])
            if room is None or not room.encrypted or client.should_query_keys:
                return False
            # The library keeps no record of the device that it is itself.
            known = (user == client.user_id or any(store.active_user_devices(user)) for user in request["users"])
            return all(user in room.users for user in request["users"]) and all(known)

        await self._until(ready)
        for user in request["users"]:
            for device in store.active_user_devices(user):
                client.verify_device(device)
        return {}

    async def know(self, request):
        """Waits for a device, and believes it."""
        store = self.client.device_store

        def found():
            devices = store.active_user_devices(request["user"])
            return next((device for device in devices if device.id == request["device"]), None)

        self.client.verify_device(await self._until(found))
        return {}

    async def send(self, request):
        # Devices that were not told to be trusted make this fail.
        sent = await self.client.room_send(request["room"], request["type"], request["content"])
        return {"event_id": self._check(sent).event_id}

    async def read(self, request):
        def opened():
            event = self.events.get(request["event_id"])
            if isinstance(event, nio.MegolmEvent):
                # The key may have come after it.
                event = self.client.olm._decrypt_megolm_no_error(event)
            return event

        event = await self._until(opened)
        source = event.source
        return {
            "sender": event.sender, "type": source["type"], "content": source["content"],
            "decrypted": bool(event.decrypted),
        }

    async def request_key(self, request):
        event = await self._until(lambda: self.events.get(request["event_id"]))
        self._check(await self.client.request_room_key(event))
        return {}

    async def upload(self, request):
        sealed, keys = encrypt_attachment(request["text"].encode())
        stored, _ = await self.client.upload(io.BytesIO(sealed), "application/octet-stream", filesize=len(sealed))
        content = {"msgtype": "m.file", "body": request["name"], "file": keys | {"url": self._check(stored).content_uri}}
        return await self.send(request | {"type": "m.room.message", "content": content})

    async def download(self, request):
        file = (await self.read(request))["content"]["file"]
        sealed = self._check(await self.client.download(mxc=file["url"])).body
        text = decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
        return {"text": text.decode()}


asyncio.run(serve(NioClient()))
