"""Words that people and examples make keys of. A hash of one of them is as good as no key."""

from __future__ import annotations

from typing import Final

_TEXT: Final = (
    "admin administrator api apikey api-key api_key base64 changeit changeme change-me change_me changethis "
    "change-this company correcthorsebatterystaple correct-horse-battery-staple credential credentials default demo "
    "dev development docker dragon encrypt encryption encryption_key encryption-key encryptionkey example example-key "
    "foo foobar football gateway hello helloworld hunter2 iloveyou insecure key kek letmein litellm llm local "
    "localhost login master masterkey master-key master_key monkey mypassword mykey mysecret mysecretkey "
    "my-secret-key my_secret_key openai ownkey ownkey-key ownkey_key pass passphrase password passw0rd p@ssw0rd "
    "postgres prod production princess private qwerty qwertyuiop replace-me replaceme root sample secret secret-key "
    "secret_key secretkey secrets sk-1234 staging sunshine super-secret supersecret supersecretkey superman test "
    "test-key test_key testing testkey testtest token trustno1 unsafe user welcome wrapping wrapping-key wrapping_key "
    "wrappingkey xxx yes zero 0 1 00000000 0123456789 1111 11111111 111111 1234 12345 123456 1234567 12345678 "
    "123456789 1234567890 123123 abc abc123 abcdef abcdefgh aaaaaaaa "
)
KNOWN_WORDS: Final = ("", *_TEXT.split(" ")[:-1])
