// A matrix-js-sdk client driven by JSON lines.
//
// One request a line on standard input, `{"do": VERB, ...}`; one answer a line on standard output, `{"error": ...}` if it
// failed. Ends with its standard input. The packages are those of the folder in which it is started.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// Standard output is for answers alone.
for (const level of ["log", "info", "debug", "trace"]) console[level] = () => {};

const here = pathToFileURL(`${process.cwd()}/`).href;
const load = (name) => import(import.meta.resolve(name, here));
const sdk = await load("matrix-js-sdk");
const api = await load("matrix-js-sdk/lib/crypto-api/index.js");
const { Attachment, EncryptedAttachment } = await load("@matrix-org/matrix-sdk-crypto-wasm");

const SYNC_TIMEOUT_MS = 1_000;
const SAS = "m.sas.v1";
const METHODS = [SAS, "m.qr_code.show.v1", "m.qr_code.scan.v1", "m.reciprocate.v1"];
const quiet = { trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error, getChild: () => quiet };

let client, crypto, storageKey, request, strings, verified, strict;

/** Looks again after each sync until `look` gives something. */
async function until(look) {
    for (;;) {
        const found = await look();
        if (found) return found;
        await new Promise((resolve) => client.once("sync", resolve));
    }
}

const roomEvent = ({ room, event_id }) => until(() => client.getRoom(room)?.findEventById(event_id));

async function join({ room }) {
    await client.joinRoom(room);
    await until(() => client.getRoom(room)?.hasEncryptionStateEvent());
    return {};
}

/** The event once it is decrypted, or was never encrypted. */
async function opened(request) {
    const event = await roomEvent(request);
    await until(() => !event.isEncrypted() || (event.getClearContent() && !event.isDecryptionFailure()));
    return event;
}

async function login({ homeserver, user, password, strict: only }) {
    const name = { type: "m.id.user", user };
    const wanted = { type: "m.login.password", identifier: name, password, initial_device_display_name: "matrix-js-sdk" };
    const answer = await sdk.createClient({ baseUrl: homeserver, logger: quiet }).loginRequest(wanted);
    client = sdk.createClient({
        baseUrl: homeserver, userId: answer.user_id, deviceId: answer.device_id, accessToken: answer.access_token,
        logger: quiet, verificationMethods: METHODS,
        cryptoCallbacks: { getSecretStorageKey: async ({ keys }) => [Object.keys(keys)[0], storageKey] },
    });
    await client.initRustCrypto({ useIndexedDB: false });
    crypto = client.getCrypto();
    crypto.globalBlacklistUnverifiedDevices = Boolean(only);
    client.on(api.CryptoEvent.VerificationRequestReceived, (incoming) => (request = incoming));
    await client.startClient({ pollTimeout: SYNC_TIMEOUT_MS, lazyLoadMembers: false });
    await until(() => client.isInitialSyncComplete());
    return { device_id: answer.device_id, fingerprint: (await crypto.getOwnDeviceKeys()).ed25519 };
}

async function meet({ room, users }) {
    await until(() => {
        const known = client.getRoom(room);
        const joined = known?.getJoinedMembers().map((member) => member.userId) ?? [];
        return known?.hasEncryptionStateEvent() && users.every((user) => joined.includes(user));
    });
    return {};
}

const send = async ({ room, type, content }) => client.sendEvent(room, type, content);

async function read(request) {
    const event = await opened(request);
    const content = { ...event.getOriginalContent() };
    // Servers look for relations outside of the ciphertext, and so does this library.
    const relation = event.getWireContent()["m.relates_to"];
    if (relation) content["m.relates_to"] = relation;
    return { sender: event.getSender(), type: event.getType(), content, decrypted: event.isEncrypted() };
}

async function failure(request) {
    const event = await roomEvent(request);
    const withheld = { MEGOLM_KEY_WITHHELD: "other", MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE: "m.unverified" };
    return { code: await until(() => withheld[event.decryptionFailureReason]) };
}

async function identity({ user, password }) {
    await crypto.bootstrapCrossSigning({
        authUploadDeviceSigningKeys: async (upload) => {
            try {
                return await upload(null);
            } catch (refusal) {
                const session = refusal.data?.session;
                if (!session) throw refusal;
                const identifier = { type: "m.id.user", user };
                return await upload({ type: "m.login.password", identifier, password, session });
            }
        },
    });
    return {};
}

async function keep() {
    const made = await crypto.createRecoveryKeyFromPassphrase();
    storageKey = made.privateKey;
    const uploaded = new Promise((resolve) =>
        client.on(api.CryptoEvent.KeyBackupSessionsRemaining, (left) => left === 0 && resolve()));
    const options = { setupNewSecretStorage: true, setupNewKeyBackup: true };
    await crypto.bootstrapSecretStorage({ createSecretStorageKey: async () => made, ...options });
    await uploaded;
    return { recovery_key: made.encodedPrivateKey };
}

async function open({ recovery_key: typed }) {
    storageKey = api.decodeRecoveryKey(typed);
    // What is stored is held against the public keys, which must be known for that.
    await crypto.userHasCrossSigningKeys(client.getUserId(), true);
    await crypto.bootstrapCrossSigning({});
    return {};
}

async function restore() {
    await crypto.loadSessionBackupPrivateKeyFromSecretStorage();
    const { imported } = await crypto.restoreKeyBackup();
    return { imported };
}

async function know({ user, device, trust }) {
    await until(async () => {
        const status = await crypto.getDeviceVerificationStatus(user, device);
        if (trust === "known") return status;
        return trust === "verified" ? status?.crossSigningVerified : status?.signedByOwner;
    });
    return {};
}

async function secrets() {
    await until(async () => {
        const held = (await crypto.getCrossSigningStatus()).privateKeysCachedLocally;
        return held.masterKey && held.selfSigningKey && held.userSigningKey;
    });
    return {};
}

/** It syncs by itself. */
const idle = async () => ({});

async function ask({ user, room }) {
    if (room) request = await crypto.requestVerificationDM(user, room);
    else if (user === client.getUserId()) request = await crypto.requestOwnUserVerification();
    else throw new Error("this library asks others in rooms only");
    return {};
}

async function accept({ user }) {
    await until(() => request?.otherUserId === user);
    await request.accept();
    return {};
}

async function start() {
    await until(() => request.phase === api.VerificationPhase.Ready);
    await request.startVerification(SAS);
    return {};
}

async function compare() {
    const verifier = await until(() => request.verifier);
    verifier.on(api.VerifierEvent.ShowSas, (shown) => (strings = shown));
    strings = verifier.getShowSasCallbacks();
    verified = verifier.verify();
    // A rejection is looked at when the person has confirmed.
    verified.catch(() => {});
    await until(() => strings ?? (request.phase === api.VerificationPhase.Cancelled && verified));
    return { emoji: strings.sas.emoji.map(([symbol]) => symbol) };
}

async function confirm() {
    await strings.confirm();
    await verified;
    await until(() => request.phase === api.VerificationPhase.Done);
    return {};
}

/** The code that this side shows. */
async function show() {
    await until(() => request.phase === api.VerificationPhase.Ready);
    return { code: Array.from(await request.generateQRCode()) };
}

/** Waits until the code was scanned, says so, and waits for the end. */
async function scanned() {
    const verifier = await until(() => request.verifier);
    const callbacks = await until(() => verifier.getReciprocateQrCodeCallbacks());
    const ended = verifier.verify();
    await callbacks.confirm();
    await ended;
    await until(() => request.phase === api.VerificationPhase.Done);
    return {};
}

async function scan({ code }) {
    await until(() => request.phase === api.VerificationPhase.Ready);
    verified = (await request.scanQRCode(new Uint8ClampedArray(code))).verify();
    verified.catch(() => {});
    return {};
}

/** Waits until the other side has said that its code was scanned. */
async function finish() {
    await verified;
    await until(() => request.phase === api.VerificationPhase.Done);
    return {};
}

async function upload({ room, name, text }) {
    const sealed = Attachment.encrypt(new TextEncoder().encode(text));
    const file = JSON.parse(sealed.mediaEncryptionInfo);
    const stored = await client.uploadContent(new Blob([sealed.encryptedData]), { type: "application/octet-stream" });
    file.url = stored.content_uri;
    return client.sendEvent(room, "m.room.message", { msgtype: "m.file", body: name, file, info: { size: text.length } });
}

async function download(request) {
    const { file } = (await opened(request)).getContent();
    const url = client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
    const answer = await fetch(url, { headers: { Authorization: `Bearer ${client.getAccessToken()}` } });
    if (!answer.ok) throw new Error(`the file: ${answer.status}`);
    const sealed = new EncryptedAttachment(new Uint8Array(await answer.arrayBuffer()), JSON.stringify(file));
    return { text: new TextDecoder().decode(Attachment.decrypt(sealed)) };
}

const verbs = {
    login, join, meet, send, read, failure, identity, keep, open, restore, know, ask, accept, start, compare, confirm, upload,
    download, secrets, idle, show, scanned, scan, finish,
};

for await (const line of createInterface({ input: process.stdin })) {
    const wanted = JSON.parse(line);
    let answer;
    try {
        answer = await verbs[wanted.do](wanted);
    } catch (error) {
        // Whatever it was, the test that asked shall show it.
        answer = { error: String(error?.stack ?? error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
