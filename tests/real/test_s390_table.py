"""s390's table of CPU feature `unpack` and limitation: neither is changed because of the other.

The object itself exists only where KVM runs on s390, so a real QEMU is asked with it taken out, and is seen to
refuse it before it looks at the CPU model.
"""

import pytest
from realtools.qmp import QmpError

import sequester
from sequester.rules.engine import Selection
from sequester.run.simulate import simulate

MODELS = ("", "qemu", "max", "max,unpack=off", "max,unpack=on", "gen15a-base,unpack=on", "z14", "host")
EXPAND = [
    {
        "execute": "query-cpu-model-expansion",
        "arguments": {"type": kind, "model": {"name": name, "props": props}},
    }
    for kind, name, props in (
        ("full", "max", {}),
        ("static", "max", {}),
        ("full", "qemu", {}),
        ("full", "gen15a-base", {"unpack": True}),
        ("static", "gen15a", {"unpack": True}),
    )
]
UNPACK = Selection(select=("SQ502", "SQ508"))


def words(model, accelerator="kvm"):
    named = ["-cpu", model] if model else []
    return ["-M", "s390-ccw-virtio", "-accel", accelerator, "-m", "128", "-nodefaults", "-S", *named]


def guest(qemu, model):
    return sequester.from_argv([str(qemu.path), *words(model)])


def cpu_of(argv):
    return argv[argv.index("-cpu") + 1] if "-cpu" in argv else ""


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize("model", MODELS)
def test_the_limitation_leaves_the_cpu_model_as_it_is(qemu, model):
    assert cpu_of(sequester.plan(guest(qemu, model), limit="s390-pv").argv()[0]) == model


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize("model", MODELS)
def test_the_cpu_model_brings_no_limitation(qemu, model):
    document = guest(qemu, model)
    assert document.guest.limitation is None
    noted = [(finding.code, finding.fixable) for finding in sequester.check(document, selection=UNPACK)]
    assert noted == ([("SQ508", False)] if "unpack=on" in model else [])


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize("model", ["", "qemu", "max"])
def test_cpu_models_expand_to_the_same_with_and_without_the_limitation(qemu, model):
    planned = simulate(sequester.plan(guest(qemu, model), limit="s390-pv"), None).argv
    planned = [word for word in planned if word not in ("-serial", "stdio")]
    assert qemu.ask(planned[1:], *EXPAND) == qemu.ask(words(model, "tcg"), *EXPAND)


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize("model", ["", "qemu", "max", "max,unpack=off"])
def test_without_limitation_and_feature_the_guest_starts_as_before(qemu, model):
    assert qemu.ask(words(model, "tcg"), {"execute": "query-status"})


@pytest.mark.real_qemu(arch="s390x")
def test_without_limitation_it_is_qemu_that_says_whether_the_host_has_the_feature(qemu):
    with pytest.raises(
        QmpError, match=r"not available in the .*configuration: unpack|Consider a different accel"
    ):
        qemu.ask(words("max,unpack=on", "tcg"))


@pytest.mark.real_qemu(arch="s390x")
@pytest.mark.parametrize("model", MODELS)
def test_with_a_limitation_the_object_decides_before_the_cpu_model_and_ours_says_which_models_fail(
    qemu, model
):
    plan = sequester.plan(guest(qemu, model), limit="s390-pv")
    planned = ["tcg" if word == "kvm" else word for word in plan.argv()[0][1:]]
    done = qemu.run([*planned, "-display", "none"], timeout=30)
    assert "invalid object type: s390-pv-guest" in done.stderr
    can = model in ("", "host", "max") or "unpack=on" in model
    assert [finding.code for finding in plan.findings if finding.code == "SQ502"] == (
        [] if can else ["SQ502"]
    )
    assert plan.refused != can
