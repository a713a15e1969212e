// Opens sealed vectors with Node's own crypto and nothing else: a second reader of docs/reference/envelope.md.
//
//   node tests/vectors/open.mjs < tests/vectors/envelope_v1.json
//
// Prints how many vectors of each kind were checked, as JSON; exits with 1 and the name of the first that disagrees.

import { createDecipheriv, createHash, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function pack(...fields) {
  return Buffer.concat(
    fields.flatMap((field) => {
      const packed = typeof field === "string" ? Buffer.from(field, "utf8") : Buffer.alloc(8);
      if (typeof field !== "string") packed.writeBigUInt64BE(BigInt(field));
      const length = Buffer.alloc(4);
      length.writeUInt32BE(packed.length);
      return [length, packed];
    }),
  );
}

function openBox(magic, purpose, key, box, fields) {
  const shortest = 8 + 32 + 12 + 32 + 16 + 1;
  if (box.length < shortest || box.toString("latin1", 0, 2) !== magic || box[2] !== 1 || box[3] !== 1) return null;
  const salt = box.subarray(8, 40);
  const nonce = box.subarray(40, 52);
  const derived = Buffer.from(hkdfSync("sha256", key, salt, `ownkey/${purpose}/v1`, 64));
  if (!timingSafeEqual(derived.subarray(32), box.subarray(52, 84))) return null;
  const decipher = createDecipheriv("aes-256-gcm", derived.subarray(0, 32), nonce);
  decipher.setAAD(Buffer.concat([fields, box.subarray(0, 8)]));
  decipher.setAuthTag(box.subarray(-16));
  const plaintext = decipher.update(box.subarray(84, -16));
  try {
    decipher.final();
  } catch {
    return null;
  }
  return plaintext;
}

function openSecret({ data_key, binding, sealed }) {
  const { deployment_id, purpose, user_id, provider, record_id, generation } = binding;
  const fields = pack("ownkey", deployment_id, purpose, user_id, provider, record_id, generation);
  return openBox("OK", purpose, Buffer.from(data_key, "hex"), Buffer.from(sealed, "hex"), fields)?.toString("utf8") ?? null;
}

function unwrap({ wrapping_key, wrapping_key_id, deployment_id, user_id, data_key_version, wrapped }) {
  const fields = pack("ownkey/dek", deployment_id, user_id, wrapping_key_id, data_key_version);
  return openBox("OW", "dek", Buffer.from(wrapping_key, "hex"), Buffer.from(wrapped, "hex"), fields)?.toString("hex") ?? null;
}

function fingerprint({ data_key, user_id, provider, plaintext }) {
  const subkey = Buffer.from(hkdfSync("sha256", Buffer.from(data_key, "hex"), "", "ownkey/fingerprint/v1", 32));
  return createHmac("sha256", subkey).update(pack(user_id, provider)).update(plaintext, "utf8").digest("hex");
}

function crc32(text) {
  let value = 0xffffffff;
  for (const byte of Buffer.from(text, "latin1")) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return (value ^ 0xffffffff) >>> 0;
}

function hashToken({ token }) {
  if (!/^ok-[0-9A-Za-z]{49}$/.test(token)) return null;
  let checksum = crc32(token.slice(0, -6));
  let written = "";
  for (let place = 0; place < 6; place += 1) {
    written = ALPHABET[checksum % 62] + written;
    checksum = Math.floor(checksum / 62);
  }
  return token.slice(-6) === written ? createHash("sha256").update(token).digest("hex") : null;
}

// JSON numbers are doubles here; generations go beyond 2^53, so they are read as text first.
function parse(text) {
  return JSON.parse(text.replace(/"(generation|data_key_version)": ?(\d+)/g, '"$1":{"big":"$2"}'), (_key, value) =>
    value && typeof value === "object" && typeof value.big === "string" ? BigInt(value.big) : value,
  );
}

const checks = {
  secrets: (vector) => openSecret(vector) === vector.plaintext,
  refused: (vector) => openSecret(vector) === null,
  wrapped: (vector) => unwrap(vector) === vector.data_key,
  fingerprints: (vector) => fingerprint(vector) === vector.fingerprint,
  tokens: (vector) => hashToken(vector) === vector.sha256,
};

const vectors = parse(readFileSync(0, "utf8"));
const counts = {};
for (const [kind, check] of Object.entries(checks)) {
  for (const vector of vectors[kind] ?? []) {
    if (!check(vector)) {
      console.error(`${kind}: the vector "${vector.name}" disagrees`);
      process.exit(1);
    }
  }
  counts[kind] = (vectors[kind] ?? []).length;
}
console.log(JSON.stringify(counts));
