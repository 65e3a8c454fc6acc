"""A matrix-nio client driven by JSON lines.

One request a line on standard input, `{"do": VERB, ...}`; one answer a line on standard output, `{"error": ...}` if it
failed. Ends with its standard input.
"""

import asyncio
import json
import ssl
import sys
import traceback

import nio

SYNC_TIMEOUT_MS = 3_000


class Driver:
    def __init__(self):
        self.client = None
        self.texts = []

    async def login(self, request):
        config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
        trust = ssl.create_default_context(cafile=request["root"]) if request["root"] else None
        self.client = nio.AsyncClient(
            request["homeserver"], request["user"], store_path=request["store"], config=config, ssl=trust
        )
        self.client.add_event_callback(self.on_text, nio.RoomMessageText)
        self.client.add_event_callback(self.on_undecryptable, nio.MegolmEvent)
        answer = self.check(await self.client.login(request["password"], device_name="matrix-nio"))
        await self.turn()
        return {"device_id": answer.device_id}

    async def on_text(self, room, event):
        self.texts.append((room.room_id, event.sender, event.body, bool(event.decrypted)))

    async def on_undecryptable(self, room, event):
        print(f"matrix-nio could not decrypt {event.event_id} of {event.sender}", file=sys.stderr)

    def check(self, answer):
        if isinstance(answer, nio.ErrorResponse):
            raise RuntimeError(f"{type(answer).__name__}: {answer.message} ({answer.status_code})")
        return answer

    async def turn(self):
        """One sync, then everything that the library wants to send because of it."""
        client = self.client
        self.check(await client.sync(SYNC_TIMEOUT_MS, full_state=client.next_batch is None))
        if client.should_upload_keys:
            self.check(await client.keys_upload())
        if client.should_query_keys:
            self.check(await client.keys_query())
        if client.should_claim_keys:
            self.check(await client.keys_claim(client.get_users_for_key_claiming()))
        for answer in await client.send_to_device_messages():
            self.check(answer)

    async def join(self, request):
        self.check(await self.client.join(request["room"]))
        while request["room"] not in self.client.rooms:
            await self.turn()
        return {}

    async def trust(self, request):
        client, store = self.client, self.client.device_store

        def ready():
            room = client.rooms.get(request["room"])
            if room is None or not room.encrypted or client.should_query_keys:
                return False
            # The library keeps no record of the device that it is itself.
            known = (user == client.user_id or any(store.active_user_devices(user)) for user in request["users"])
            return all(user in room.users for user in request["users"]) and all(known)

        while not ready():
            await self.turn()
        for user in request["users"]:
            for device in store.active_user_devices(user):
                client.verify_device(device)
        return {}

    async def send(self, request):
        content = {"msgtype": "m.text", "body": request["body"]}
        # Devices that were not told to be trusted make this fail.
        answer = self.check(await self.client.room_send(request["room"], "m.room.message", content))
        return {"event_id": answer.event_id}

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
        await driver.client.close()


asyncio.run(main())
