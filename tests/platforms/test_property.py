"""Typed properties: read from every dialect, judged, written to every dialect."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sequester.guest.part import Part
from sequester.platforms.property import bits
from sequester.platforms.registry import named, platforms

EVERY = [(platform, prop) for platform in platforms() for prop in platform.properties]


def faults(name, dialect="qemu", **properties):
    part = Part(
        "limitation", named(name).object_type, {k.replace("_", "-"): v for k, v in properties.items()}
    )
    return [fault.text for fault in named(name).from_part(part, dialect).faults]


@pytest.mark.parametrize(
    ("name", "properties", "message"),
    [
        ("sev-snp", {"policy": 0}, "bit 17 (reserved-one) must be set and is not"),
        ("sev-snp", {"policy": "0x30000"}, ""),
        ("sev-snp", {"policy": "0xb0000"}, ""),
        ("sev-snp", {"policy": 1 << 63 | 0x30000}, "bit 63 is reserved"),
        ("sev-snp", {"policy": 1 << 64}, "does not fit in 64 bits"),
        ("sev-snp", {"policy": "smt+reserved-one"}, ""),
        ("sev-snp", {"policy": ["smt", "reserved-one"]}, ""),
        ("sev-snp", {"policy": ["smt", "nonsense"]}, "'nonsense' is not a policy bit"),
        ("sev-snp", {"policy": True}, "a number is wanted"),
        ("sev-snp", {"policy": "ten"}, "is not a policy bit"),
        ("sev-snp", {"id_auth": "AAAA"}, "id-auth is 3 bytes, not 4096"),
        ("sev-snp", {"id_block": base64.b64encode(bytes(96)).decode()}, ""),
        ("sev-snp", {"host_data": "!!!"}, "that is not base64"),
        ("sev-snp", {"reduced_phys_bits": 0}, "0 is not between 1 and 63"),
        ("sev-snp", {"author_key_enabled": "maybe"}, "neither on nor off"),
        ("sev-snp", {"nonsense": 1}, "has no property 'nonsense'"),
        ("sev", {"policy": 0x40}, "bit 6 is reserved"),
        ("sev", {"policy": "017"}, ""),
        ("sev", {"session_file": ""}, "text is wanted"),
        ("sev", {"legacy_vm_type": "perhaps"}, "is none of on, off, auto"),
        ("tdx", {"attributes": 1}, "bit 0 (debug) cannot be set through QEMU"),
        ("tdx", {"attributes": 1 << 28}, ""),
        ("tdx", {"mrconfigid": "AAAA"}, "mrconfigid is 3 bytes, not 48"),
        ("tdx", {"quote_generation_socket": {"type": "unix", "path": "/x"}}, ""),
        ("tdx", {"quote_generation_socket": 5}, "a socket address is wanted"),
        ("cca", {"personalization_value": "AAAA"}, "is 3 bytes, not 64"),
        ("pef", {"policy": 1}, "has no property 'policy' (known: it has none)"),
    ],
)
def test_a_value_that_cannot_be_right_is_told_in_one_line(name, properties, message):
    found = faults(name, **properties)
    assert [message in text for text in found] == ([True] if message else [])


def test_libvirt_says_vcek_the_other_way_round():
    part = Part("limitation", "sev-snp", {"@vcek": "no", "@authorKey": "yes", "policy": "0x00030000"})
    limitation = named("sev-snp").from_part(part, "libvirt")
    assert limitation.object_properties() == {
        "policy": 0x30000,
        "author-key-enabled": True,
        "vcek-disabled": True,
    }
    assert limitation.libvirt_properties() == {
        "policy": "0x00030000",
        "@authorKey": "yes",
        "@vcek": "no",
    }


def test_a_guest_of_sev_with_policy_bit_2_is_sev_es():
    from sequester.platforms.registry import of

    for policy, name in (("1", "sev"), ("0x5", "sev-es"), (7, "sev-es"), ("", "sev")):
        assert of(Part("limitation", "sev-guest", {"policy": policy}), "qemu").name == name
        assert of(Part("limitation", "sev", {"policy": policy}), "libvirt").name == name


def test_sev_es_without_its_bit_is_a_fault_and_its_default_has_it():
    part = Part("limitation", "sev-es", {"policy": 1})
    assert "bit 2 (es) must be set" in named("sev-es").from_part(part, "qemu").faults[0].text
    assert named("sev-es")().completed(None).values["policy"] == 0xF


@pytest.mark.parametrize(("platform", "prop"), EVERY, ids=lambda value: getattr(value, "name", str(value)))
@given(
    value=st.one_of(
        st.text(max_size=50), st.integers(), st.booleans(), st.none(), st.lists(st.text()), st.floats()
    )
)
def test_any_value_is_read_or_is_one_line(platform, prop, value):
    limitation = platform.from_part(Part("limitation", platform.object_type, {prop.name: value}), "qemu")
    for fault in limitation.faults:
        assert "\n" not in " ".join(fault.text.split())
    limitation.object_properties()
    limitation.libvirt_properties()


@pytest.mark.parametrize(
    ("platform", "prop"),
    [pair for pair in EVERY if pair[1].libvirt],
    ids=lambda v: getattr(v, "name", str(v)),
)
@given(data=st.data())
def test_what_is_written_for_libvirt_is_read_back_the_same(platform, prop, data):
    from sequester.platforms.property import Boolean, Bytes, Text, Unsigned

    made = {
        Unsigned: lambda: st.integers(0, (1 << getattr(prop.kind, "bits", 1)) - 1),
        Boolean: lambda: st.booleans(),
        Bytes: lambda: st.binary(min_size=1, max_size=16).map(
            lambda b: (b * prop.kind.length)[: prop.kind.length]
        ),
        Text: lambda: st.just("/a/b"),
    }.get(type(prop.kind), lambda: st.just({"type": "unix", "path": "/a"}))
    value = data.draw(made())
    assert prop.read(prop.to_libvirt(value), "libvirt") == value
    assert prop.read(prop.to_qemu(value), "qemu") == value


@given(st.integers(0, (1 << 64) - 1))
def test_bits_are_the_numbers_of_the_set_bits(mask):
    assert sum(1 << number for number in bits(mask)) == mask


def test_names_and_objects_of_platforms_are_not_shared():
    names = [name for platform in platforms() for name in (platform.name, *platform.also_known_as)]
    assert len(names) == len(set(names))
    assert [p.strength for p in platforms()] == sorted((p.strength for p in platforms()), reverse=True)
