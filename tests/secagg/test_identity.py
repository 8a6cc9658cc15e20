import stat

import pytest

from secagg import identity as identity_module
from secagg.crypto import seeded_entropy
from secagg.errors import PlanError, WireError
from secagg.identity import Identity, KeyDirectory


def test_a_key_file_is_private_and_never_overwritten(tmp_path):
    path = tmp_path / "identity.key"
    identity = Identity.generate()
    identity.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Identity.load(path) == identity
    with pytest.raises(PlanError, match="already there"):
        Identity.generate().save(path)
    assert Identity.load(path) == identity
    path.write_bytes(b"short")
    with pytest.raises(WireError, match="not an identity key"):
        Identity.load(path)


def test_identities_differ_and_hide_their_private_half():
    one, two = Identity.generate(), Identity.generate(seeded_entropy(b"x"))
    assert one.public != two.public
    assert "private" not in repr(one)
    assert len(one.sign(b"m")) == 64


def directory(*names):
    return KeyDirectory(members={name: Identity.generate(seeded_entropy(name.encode())).public for name in names})


def test_directories_round_trip_and_do_not_depend_on_the_order():
    one, two = directory("b", "a"), directory("a", "b")
    assert one.fingerprint == two.fingerprint
    assert KeyDirectory.from_bytes(one.to_bytes()).fingerprint == one.fingerprint
    assert directory("a").fingerprint != one.fingerprint


def test_broken_directories():
    data = directory("a", "b").to_bytes()
    for length in range(len(data)):
        with pytest.raises(WireError):
            KeyDirectory.from_bytes(data[:length])
    a, b = data[8:42], data[42:]
    with pytest.raises(WireError, match="not unique and sorted"):
        KeyDirectory.from_bytes(data[:8] + b + a)
    with pytest.raises(WireError, match="not unique and sorted"):
        KeyDirectory.from_bytes(data[:8] + a + a)
    with pytest.raises(PlanError, match="32 needed"):
        KeyDirectory(members={"a": b"short"})
    with pytest.raises(PlanError, match="longer than 255"):
        KeyDirectory(members={"ü" * 128: bytes(32)})
    with pytest.raises(PlanError, match="share a key"):
        KeyDirectory(members={"a": bytes(32), "b": bytes(32)})


def test_a_key_holder_is_pinned_beside_the_members():
    members, holder = directory("a", "b"), Identity.generate(seeded_entropy(b"holder")).public
    pinned = KeyDirectory(members=members.members, key_holder=holder)
    assert KeyDirectory.from_bytes(pinned.to_bytes()) == pinned
    assert pinned.fingerprint != members.fingerprint
    assert pinned.to_bytes() == members.to_bytes() + holder
    for key in (b"short", members.members["a"]):
        with pytest.raises(PlanError, match="the key holder needs a key of 32 bytes that is no member's"):
            KeyDirectory(members=members.members, key_holder=key)


def test_an_encrypted_identity_needs_its_passphrase(tmp_path, monkeypatch):
    monkeypatch.setattr(identity_module, "SCRYPT_BITS", 4)
    identity, path = Identity.generate(), tmp_path / "sealed.key"
    identity.save(path, passphrase=b"correct horse")
    assert identity.private not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert Identity.load(path, passphrase=b"correct horse") == identity
    with pytest.raises(WireError, match="the passphrase is wrong, or the file is damaged"):
        Identity.load(path, passphrase=b"wrong horse")
    with pytest.raises(WireError, match="is encrypted, or cut short"):
        Identity.load(path)


def test_an_interrupted_encryption_leaves_no_file_in_the_way(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(identity_module, "_sealed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Identity.generate().save(tmp_path / "sealed.key", passphrase=b"correct horse")
    assert not (tmp_path / "sealed.key").exists()


def test_two_encryptions_of_one_identity_share_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(identity_module, "SCRYPT_BITS", 4)
    identity = Identity.generate()
    for name in "ab":
        identity.save(tmp_path / name, passphrase=b"correct horse")
    first, second = ((tmp_path / name).read_bytes() for name in "ab")
    assert first[4:20] != second[4:20]
    assert first[20:] != second[20:]


@pytest.mark.parametrize("position", [5, 30, -1])
def test_a_damaged_encrypted_identity_is_refused(position, tmp_path, monkeypatch):
    monkeypatch.setattr(identity_module, "SCRYPT_BITS", 4)
    path = tmp_path / "sealed.key"
    Identity.generate().save(path, passphrase=b"correct horse")
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WireError, match="is wrong, or the file is damaged"):
        Identity.load(path, passphrase=b"correct horse")
