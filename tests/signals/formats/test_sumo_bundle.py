"""Uploaded bundles: every refusal with an archive that is really bad, and what comes out of good ones."""

from __future__ import annotations

import gzip
import importlib.util
import io
import re
import stat
import subprocess
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from signals.errors import InputError
from signals.formats.sumo.binaries import find_binary, sumo_environment
from signals.formats.sumo.bundle import (
    MIB,
    Bundle,
    BundleLimits,
    bundle_of,
    unpack_bundle,
)
from signals.formats.sumo.config import Scenario, read_scenario, scenario_of
from signals.formats.sumo.demand import record_demand
from signals.formats.sumo.network import read_network
from signals.formats.sumo.traffic_options import OPTIONS_KEPT
from sumo_nets import NETWORKS, find_network

NET = (find_network("single").parent / "single.net.xml").read_bytes()
ROUTES = (
    b'<routes><vehicle id="v" depart="1"><route edges="west_centre west_centre_pocket"/></vehicle></routes>'
)
LANE = "centre_east_0"


def config(
    options: str = "", *, routes: str = "r.rou.xml", additional: str = "", net: str = "n.net.xml"
) -> bytes:
    more = f'<additional-files value="{additional}"/>' if additional else ""
    return (
        f'<configuration><input><net-file value="{net}"/><route-files value="{routes}"/>{more}</input>'
        f'<time><begin value="0"/><end value="60"/></time>{options}</configuration>'
    ).encode()


def sound(**changes: bytes | None) -> dict[str, bytes]:
    """The files of a bundle that is all right, but for the changes: dots of names stand as __."""
    files: dict[str, bytes | None] = {"s.sumocfg": config(), "n.net.xml": NET, "r.rou.xml": ROUTES}
    files.update({name.replace("__", "."): content for name, content in changes.items()})
    return {name: content for name, content in files.items() if content is not None}


def adding(inner: str) -> dict[str, bytes]:
    """A sound bundle with one additional file of this content."""
    content = f"<additional>{inner}</additional>".encode()
    return sound(s__sumocfg=config(additional="a.add.xml"), a__add__xml=content)


def zipped(files: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for info, content in more:
            archive.writestr(info, content)
    return buffer.getvalue()


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def refused(content: bytes, folder: Path, message: str, **limits: float) -> None:
    """The bundle is refused with a message, which doesn't tell the folder, and nothing of it stays."""
    with pytest.raises(InputError, match=message) as caught:
        unpack_bundle(content, folder, limits=BundleLimits(**limits))  # type: ignore[arg-type]
    assert str(folder) not in str(caught.value)
    assert not list(folder.iterdir())


# --------------------------------------------------------------------------------------------- good bundles


def rest(scenario: Scenario) -> Scenario:
    """A scenario without where it lies, to be compared."""
    return replace(scenario, config=None, net=Path(), routes=(), additional=())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shipped_network_comes_back_as_it_was_sent(name: str, tmp_path: Path) -> None:
    sent = read_scenario(find_network(name))
    content = bundle_of(sent)
    bundle = unpack_bundle(content, tmp_path / "a")
    assert bundle.remarks == ()
    assert rest(bundle.scenario) == rest(sent)
    assert [p.read_bytes() for p in bundle.scenario.files[1:]] == [p.read_bytes() for p in sent.files[1:]]
    assert replace(read_network(bundle.scenario), source="") == replace(read_network(sent), source="")
    assert bundle_of(sent) == content == bundle_of(bundle.scenario)


def resco() -> list[Path]:
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or spec.origin is None:
        return []
    return sorted((Path(spec.origin).parent / "nets" / "RESCO").glob("*/*.sumocfg"))


@pytest.mark.skipif(not resco(), reason="RESCO's networks come with sumo-rl, which isn't installed")
def test_networks_of_resco_come_back_as_they_were_sent(tmp_path: Path) -> None:
    for sumocfg in resco():
        sent = read_scenario(sumocfg)
        content = bundle_of(sent)
        back = unpack_bundle(content, tmp_path / sumocfg.stem).scenario
        assert rest(back) == rest(sent)
        assert [p.read_bytes() for p in back.files[1:]] == [p.read_bytes() for p in sent.files[1:]]
        assert bundle_of(back) == content


def test_the_demand_of_a_bundle_is_that_of_the_original(tmp_path: Path) -> None:
    sent = read_scenario(find_network("single"))
    back = unpack_bundle(bundle_of(sent), tmp_path / "b").scenario
    one, exits = record_demand(sent, cache=tmp_path / "c1")
    other, other_exits = record_demand(back, cache=tmp_path / "c2")
    assert len(one.vehicles) > 1000
    assert other == one
    assert other_exits == exits


def test_the_same_bytes_have_the_same_hash_wherever_they_are_unpacked(tmp_path: Path) -> None:
    content = zipped(sound())
    hashes = {unpack_bundle(content, tmp_path / name).scenario.content_hash() for name in ("a", "b/c")}
    assert len(hashes) == 1
    changed = zipped(sound(r__rou__xml=ROUTES.replace(b'depart="1"', b'depart="2"')))
    assert unpack_bundle(changed, tmp_path / "d").scenario.content_hash() not in hashes


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda net: zipped({"deep/x.net.xml": net})])
def test_a_network_alone_is_a_scenario_without_routes(pack, tmp_path: Path) -> None:
    bundle = unpack_bundle(pack(NET), tmp_path)
    assert bundle.scenario.config is None
    assert bundle.scenario.routes == bundle.scenario.additional == ()
    assert bundle.scenario.net.read_bytes() == NET
    assert unpack_bundle(bundle_of(bundle.scenario), tmp_path / "x").scenario.config is None


def test_a_scenario_of_parts_gets_a_config(tmp_path: Path) -> None:
    (tmp_path / "n.net.xml").write_bytes(NET)
    (tmp_path / "r.rou.xml").write_bytes(ROUTES)
    parts = scenario_of(tmp_path / "n.net.xml", [tmp_path / "r.rou.xml"], begin_s=1234567.25, end_s=1234599)
    back = unpack_bundle(bundle_of(parts), tmp_path / "x").scenario
    assert (back.begin_s, back.end_s) == (1234567.25, 1234599)
    assert back.config is not None
    assert back.config.name == "n.sumocfg"


def test_the_window_of_the_scenario_counts_not_that_of_its_config(tmp_path: Path) -> None:
    sent = replace(read_scenario(find_network("arterial")), begin_s=0.0, end_s=None)
    back = unpack_bundle(bundle_of(sent), tmp_path).scenario
    assert (back.begin_s, back.end_s) == (0.0, None)


def test_files_from_elsewhere_are_put_inside(tmp_path: Path) -> None:
    (tmp_path / "cfg").mkdir()
    (tmp_path / "nets" / "more").mkdir(parents=True)
    (tmp_path / "nets" / "n.net.xml").write_bytes(NET)
    (tmp_path / "nets" / "a.add.xml").write_text('<additional><include href="more/t.add.xml"/></additional>')
    (tmp_path / "nets" / "more" / "t.add.xml").write_text('<additional><vType id="t"/></additional>')
    (tmp_path / "r.rou.xml.gz").write_bytes(gzip.compress(ROUTES))
    text = config(net="../nets/n.net.xml", routes="../r.rou.xml.gz", additional="../nets/a.add.xml")
    (tmp_path / "cfg" / "s.sumocfg").write_bytes(text)
    content = bundle_of(read_scenario(tmp_path / "cfg" / "s.sumocfg"))
    assert zipfile.ZipFile(io.BytesIO(content)).namelist() == [
        "outside1/a.add.xml",
        "outside1/more/t.add.xml",
        "outside1/n.net.xml",
        "outside2/r.rou.xml.gz",
        "s.sumocfg",
    ]
    back = unpack_bundle(content, tmp_path / "x").scenario
    assert back.net.read_bytes() == NET
    # What the included file includes lies where a move would lose it.
    (tmp_path / "nets" / "more" / "t.add.xml").write_text(
        f'<additional><include href="../../{"cfg"}/u.xml"/></additional>'
    )
    (tmp_path / "cfg" / "u.xml").write_text("<additional/>")
    with pytest.raises(InputError, match=r"t\.add\.xml: reads '\.\./\.\./cfg/u\.xml'"):
        bundle_of(read_scenario(tmp_path / "cfg" / "s.sumocfg"))


def test_paths_between_folders_of_the_bundle_are_fine(tmp_path: Path) -> None:
    files = {
        "city/cfg/s.sumocfg": config(net="../n.net.xml", routes="./../r.rou.xml"),
        "city/n.net.xml": NET,
        "city/r.rou.xml": ROUTES,
        "__MACOSX/city/._s.sumocfg": b"\0\5\26\7",
    }
    bundle = unpack_bundle(zipped(files), tmp_path)
    assert bundle.remarks == ()
    assert bundle.scenario.net == tmp_path / "city" / "n.net.xml"
    assert not (tmp_path / "__MACOSX").exists()


def test_what_the_scenario_does_not_read_is_left_out_and_said(tmp_path: Path) -> None:
    view = b'<viewsettings><decal file="/home/me/map.png"/></viewsettings>'
    bundle = unpack_bundle(zipped(sound(view__xml=view, build__py=b"import os")), tmp_path)
    assert bundle.remarks == ("files that the scenario doesn't read were left out (2): build.py, view.xml",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.net.xml", "r.rou.xml", "s.sumocfg"]


# ----------------------------------------------------------------------------------------- not such a file


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n", b"\xff\xfe<\0n\0e\0t\0", gzip.compress(b"tar", mtime=0)]
)
def test_what_is_neither_zip_nor_gzip_nor_xml_is_refused(content: bytes, tmp_path: Path) -> None:
    refused(content, tmp_path, "neither a zip nor a SUMO network")


def test_xml_that_is_no_network_is_refused(tmp_path: Path) -> None:
    refused(config(), tmp_path, "outermost element is <configuration>, not <net>.* zip the .sumocfg")
    refused(gzip.compress(ROUTES), tmp_path, "outermost element is <routes>")
    refused(NET[:5000], tmp_path, r"network\.net\.xml: not well-formed XML: .* line \d+")


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    content = zipped(sound())
    refused(content[: len(content) // 2], tmp_path, "the zip is broken")
    refused(gzip.compress(NET)[:-200], tmp_path, "cut off")
    refused(zipped({}), tmp_path, "holds no files")
    refused(zipped(sound(r__rou__xml=gzip.compress(ROUTES)[:-9])), tmp_path, r"r\.rou\.xml: is cut off")


def test_no_damage_gets_past_the_refusals(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    content = zipped({"s.sumocfg": config(), "n.net.xml": b"<net/>", "r.rou.xml": ROUTES})
    for k in range(400):
        damaged = bytearray(content)
        for at in rng.integers(2, len(content), size=rng.integers(1, 5)):
            damaged[at] = rng.integers(256)
        folder = tmp_path / str(k)
        try:
            unpack_bundle(bytes(damaged), folder)
        except InputError:
            assert not list(folder.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="isn't empty"):
        unpack_bundle(zipped(sound()), tmp_path)
    assert (tmp_path / "mine").read_text() == "x"


# -------------------------------------------------------------------------------------------- too large


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    files = sound() | {f"x{k}.txt": b"x" for k in range(8)}
    refused(zipped(files), tmp_path, "holds 11 entries, at most 10", entries=10)
    refused(zipped(sound() | {f"x{k}.txt": b"x" for k in range(198)}), tmp_path, "201 entries, at most 200")


def test_too_many_bytes_are_refused(tmp_path: Path) -> None:
    big = np.random.default_rng(1).bytes(MIB)
    refused(zipped(sound(x__bin=big)), tmp_path, r"x\.bin: .* more than 1\.0 MiB", total_bytes=MIB)
    files = sound(**{f"x{k}__bin": big for k in range(4)})
    refused(zipped(files), tmp_path, r"x2\.bin: with it", total_bytes=int(2.9 * MIB))
    refused(NET, tmp_path, "the upload: .* more than", total_bytes=1000)
    refused(gzip.compress(NET), tmp_path, "the upload: .* more than", total_bytes=1000)


def test_sizes_in_headers_are_not_believed(tmp_path: Path) -> None:
    content = bytearray(zipped({"x.bin": bytes(3 * MIB)}))
    central = content.rindex(b"PK\1\2")
    content[central + 24 : central + 28] = (10).to_bytes(4, "little")
    content[22:26] = (10).to_bytes(4, "little")
    refused(bytes(content), tmp_path, r"broken|x\.bin", total_bytes=MIB)


def test_bombs_are_refused(tmp_path: Path) -> None:
    zeros = bytes(40 * MIB)
    refused(zipped(sound(x__bin=zeros)), tmp_path, r"x\.bin: unpacks to more than 200 times its size")
    refused(gzip.compress(zeros), tmp_path, "the upload: unpacks to more than 200 times")
    inner = gzip.compress(zeros)
    refused(zipped(sound(x__gz=inner)), tmp_path, r"x\.gz: unpacks to more than 200 times")
    # Gzip in several members, and one that hides behind another name
    refused(
        zipped(sound(x__txt=gzip.compress(b"a") + inner)), tmp_path, r"x\.txt: unpacks to more than 200 times"
    )
    noise = gzip.compress(np.random.default_rng(2).bytes(2 * MIB))
    refused(zipped(sound(x__gz=noise)), tmp_path, r"x\.gz: with it", total_bytes=3 * MIB)


# -------------------------------------------------------------------------------------------- bad entries


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x.xml", r"leads out of the bundle \(\.\.\)"),
        ("a/../../x.xml", r"leads out of the bundle"),
        ("/etc/x.xml", "absolute path"),
        ("C:/x.xml", "drive letter"),
        ("c:x.xml", "drive letter"),
        ("a\\x.xml", "backslash"),
        ("a,b.xml", "comma"),
        ("a\nb.xml", "control character"),
        ("a\u202eb.xml", "control character"),
        ("a//b.xml", "empty"),
        ("./b.xml", "empty"),
        (f"{'x' * 201}.xml", "longer than 200 bytes"),
        ("a/b/c/d/e/f/g/h/i/x.xml", "lies 9 folders deep, at most 8"),
    ],
)
def test_bad_names_are_refused(name: str, message: str, tmp_path: Path) -> None:
    refused(zipped(sound(), (zipfile.ZipInfo(name), b"<a/>")), tmp_path, f"entry .*: .*{message}")
    assert not (tmp_path.parent / "x.xml").exists()


def test_a_name_that_ends_early_is_refused(tmp_path: Path) -> None:
    content = zipped(sound(), (zipfile.ZipInfo("r@rou.txt"), b"x")).replace(b"r@rou.txt", b"r\0rou.txt")
    refused(content, tmp_path, "control character")


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (stat.S_IFLNK | 0o777, "symbolic link"),
        (stat.S_IFIFO | 0o666, "special file"),
        (stat.S_IFCHR | 0o666, "special file"),
        (stat.S_IFSOCK | 0o666, "special file"),
        (stat.S_IFDIR | 0o755, "special file"),
    ],
)
def test_links_and_special_files_are_refused(mode: int, message: str, tmp_path: Path) -> None:
    refused(zipped(sound(), (special("x.xml", mode), b"/etc/passwd")), tmp_path, rf"x\.xml: is a {message}")


def test_an_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    content = zipped(sound(), (zipfile.ZipInfo("@"), b"x")).replace(b"@", b"\0")
    refused(content, tmp_path, "control character")


def test_encrypted_entries_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"x.xml": b"<a/>"}))
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    refused(bytes(content), tmp_path, r"x\.xml: is encrypted")


def test_other_compression_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.xml", "<a/>")
    refused(buffer.getvalue(), tmp_path, r"x\.xml: is compressed by method 14")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x.xml", "x.xml"),
        ("x.xml", "X.XML"),
        ("d/x.xml", "D/x.xml"),
        ("\xe9.xml", "e\u0301.xml"),
        ("x.xml", "x.xml/"),
    ],
)
def test_names_that_are_the_same_are_refused(one: str, other: str, tmp_path: Path) -> None:
    more = [(zipfile.ZipInfo(name), b"" if name.endswith("/") else b"<a/>") for name in (one, other)]
    refused(zipped({}, *more), tmp_path, "the same name")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    refused(zipped({"a/x.xml": b"<a/>", "A": b"x"}), tmp_path, r"a/x\.xml: lies in A, which is a file")


# ------------------------------------------------------------------------------------------------- XML

LAUGHS = b"""<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><routes><vType id="&b;"/></routes>"""


@pytest.mark.parametrize("name", ["r__rou__xml", "unused__xml", "unused__txt", "s__sumocfg", "n__net__xml"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_document_types_are_refused_wherever_they_stand(pack, name: str, tmp_path: Path) -> None:
    message = rf"{re.escape(name.replace('__', '.'))}: declares a document type or entities"
    refused(zipped(sound(**{name: pack(LAUGHS)})), tmp_path, message)


def test_a_network_alone_with_a_document_type_is_refused(tmp_path: Path) -> None:
    refused(LAUGHS, tmp_path, "declares a document type")
    refused(b'<!DOCTYPE net SYSTEM "file:///etc/passwd"><net/>', tmp_path, "declares a document type")


def test_broken_xml_is_refused(tmp_path: Path) -> None:
    refused(zipped(sound(r__rou__xml=ROUTES[:-5])), tmp_path, r"r\.rou\.xml: not well-formed XML")
    refused(zipped(sound(r__rou__xml=b"hello")), tmp_path, r"r\.rou\.xml: is no XML file")
    refused(zipped(sound(r__rou__xml=b"")), tmp_path, r"r\.rou\.xml: is no XML file")
    deep = b"<routes>" + b"<a>" * 200 + b"</a>" * 200 + b"</routes>"
    refused(zipped(sound(r__rou__xml=deep)), tmp_path, r"r\.rou\.xml: nests elements more than 100 deep")
    coded = b'<?xml version="1.0" encoding="cp037"?>' + ROUTES
    refused(zipped(sound(r__rou__xml=coded)), tmp_path, r"r\.rou\.xml: is encoded as cp037")


# -------------------------------------------------------------------------------------------- .sumocfg


def test_no_or_several_configs_are_refused(tmp_path: Path) -> None:
    refused(
        zipped(sound(s__sumocfg=None)), tmp_path, "holds no .sumocfg, but 1 networks and 1 other XML files"
    )
    refused(zipped({"a.net.xml": NET, "b.net.xml": NET}), tmp_path, "no .sumocfg, but 2 networks")
    refused(zipped(sound(t__SUMOCFG=config())), tmp_path, r"2 .sumocfg files \(s\.sumocfg, t\.SUMOCFG\)")
    refused(zipped(sound(s__sumocfg=b"no")), tmp_path, r"s\.sumocfg: is no XML file")
    refused(zipped(sound(s__sumocfg=NET)), tmp_path, r"s\.sumocfg: is no .sumocfg")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("absent.rou.xml", r"isn't in the bundle; add absent\.rou\.xml"),
        ("../r.rou.xml", "leads out of the bundle"),
        ("x/../../r.rou.xml", "leads out of the bundle"),
        ("/etc/passwd", "leads out of the bundle"),
        ("~/r.rou.xml", "has '~' in it"),
        ("${HOME}/r.rou.xml", "variables of the environment"),
        ("%2e%2e/r.rou.xml", "has '%' in it"),
        ("http://h/r.rou.xml", "has ':' in it"),
        ("r.rou.xml;x", "has ';' in it"),
    ],
)
@pytest.mark.parametrize("key", ["net", "routes", "additional"])
def test_a_config_names_files_of_the_bundle_alone(key: str, path: str, message: str, tmp_path: Path) -> None:
    refused(
        zipped(sound(s__sumocfg=config(**{key: path}))), tmp_path, rf"s\.sumocfg: {key[:5]}\S* .*{message}"
    )


def test_a_config_needs_one_network(tmp_path: Path) -> None:
    refused(zipped(sound(s__sumocfg=config(net=""))), tmp_path, "names 0 net-files")
    refused(zipped(sound(s__sumocfg=config(net="n.net.xml,n.net.xml"))), tmp_path, "names 2 net-files")
    refused(zipped(sound(s__sumocfg=config(routes="s.sumocfg"))), tmp_path, r"s\.sumocfg: is a configuration")
    disguised = b'<configuration><e1Detector file="/tmp/x"/></configuration>'
    refused(zipped(sound(r__rou__xml=disguised)), tmp_path, r"r\.rou\.xml: is a configuration")


HARM = """
<output><tripinfo-output value="/tmp/x"/><summary value="h:80"/><fcd-output>/etc/cron.d/x</fcd-output></output>
<input><load-state value="r.rou.xml"/><weight-files v="/etc/passwd"/><pedestrian.jupedsim.py value="x.py"/></input>
<traci_server><remote-port value="8813"/><num-clients value="2"/></traci_server>
<configuration><save-configuration value="x.cfg"/><c value="/etc/x.sumocfg"/></configuration>
<report><log value="l.txt"/><xml-validation value="always"/></report>
<processing><threads value="99"/><time-to-teleport value="120"/><lateral-resolution value="0.8"/></processing>
<routing><device.rerouting.output value="x.xml"/><device.routing.period value="30"/></routing>
<ssm_device><device.ssm.file value="x"/><device.toc.file value="y"/></ssm_device>
<random_number><seed value="7"/><random value="true"/></random_number>
"""


def test_options_that_could_harm_are_dropped_and_said(tmp_path: Path) -> None:
    bundle = unpack_bundle(zipped(sound(s__sumocfg=config(HARM))), tmp_path)
    dropped = [re.search(r"option (\S+) was left out", remark)[1] for remark in bundle.remarks]  # type: ignore[index]
    assert dropped == [
        *("c", "device.rerouting.output", "device.ssm.file", "device.toc.file", "fcd-output", "load-state"),
        *("log", "num-clients", "pedestrian.jupedsim.py", "random", "remote-port", "save-configuration"),
        *("seed", "summary", "threads", "tripinfo-output", "weight-files"),
    ]
    assert [r for r in bundle.remarks if "runs set their own" in r] == [
        "s.sumocfg: option random was left out: runs set their own",
        "s.sumocfg: option seed was left out: runs set their own",
    ]
    text = (tmp_path / "s.sumocfg").read_text()
    assert set(re.findall(r"<(\S+) value", text)) == {
        *("net-file", "route-files", "begin", "end", "time-to-teleport", "lateral-resolution"),
        *("device.rerouting.period", "xml-validation", "xml-validation.net", "xml-validation.routes"),
    }
    assert bundle.scenario.time_to_teleport_s == 120
    run(bundle, tmp_path)


def run(bundle: Bundle, cwd: Path) -> None:
    """Run SUMO with the bundle as it is; what it wrote is then in the folder."""
    sumo = find_binary("sumo")
    command = [str(sumo), *bundle.scenario.arguments(), "--no-step-log"]
    done = subprocess.run(
        command, cwd=cwd, env=sumo_environment(sumo), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_variables_of_the_environment_are_refused(tmp_path: Path) -> None:
    content = zipped(sound(s__sumocfg=config('<scale value="${HOME}"/>')))
    refused(content, tmp_path, r"s\.sumocfg: scale '\$\{HOME\}': variables of the environment")


def test_options_kept_touch_no_file_port_or_process(tmp_path: Path) -> None:
    sumo = find_binary("sumo")
    template = tmp_path / "t.xml"
    subprocess.run([str(sumo), "--save-template", str(template)], check=True, capture_output=True)
    known = dict(re.findall(r'<(\S+) value=.* type="(\S+)"', template.read_text()))
    assert set(known) >= OPTIONS_KEPT
    assert not [option for option in OPTIONS_KEPT if known[option] == "FILE"]
    for word in ("file", "output", "port", "thread", "seed", ".py", "-state"):
        assert not [o for o in OPTIONS_KEPT if word in o.replace("teleport", "")], word


# -------------------------------------------------------------- what files of the scenario read and write

DETECTORS = (
    f'<inductionLoop id="a" lane="{LANE}" pos="1" period="9" file="out/deep/e1.xml"/>'
    f'<e2Detector id="b" lane="{LANE}" pos="1" length="9" period="9" file="e2.xml"/>'
    f'<e1Detector id="c" lane="{LANE}" pos="2" period="9" file="NUL"/>'
    f'<e1Detector id="d" lane="{LANE}" pos="2" period="9" file="/dev/null"/>'
    '<timedEvent type="SaveTLSStates" source="centre" dest="tls.xml"/>'
)


def test_outputs_inside_the_bundle_are_allowed(tmp_path: Path) -> None:
    bundle = unpack_bundle(zipped(adding(DETECTORS)), tmp_path / "b")
    (tmp_path / "cwd").mkdir()
    run(bundle, tmp_path / "cwd")
    assert not list((tmp_path / "cwd").iterdir())
    written = {p.relative_to(tmp_path / "b").as_posix() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert written == {
        "a.add.xml",
        "n.net.xml",
        "r.rou.xml",
        "s.sumocfg",
        "e2.xml",
        "tls.xml",
        "out/deep/e1.xml",
    }


BAD_OUTPUTS = (
    "/tmp/x.xml",
    "../x.xml",
    "o/../../x.xml",
    "h:80",
    "${HOME}/x",
    "%2e%2e/x",
    "a\\b",
    "-",
    "stdout",
    "~/x",
)
OUTPUTS = (
    *(
        f'<{tag} id="q" {key}="{{}}"/>'
        for tag, key in (
            *((tag, "file") for tag in ("e1Detector", "inductionLoop", "e2Detector", "laneAreaDetector")),
            *((tag, "file") for tag in ("e3Detector", "entryExitDetector", "instantInductionLoop")),
            *((tag, "file") for tag in ("vTypeProbe", "routeProbe", "edgeData", "laneData")),
            *(("poly", "imgFile"), ("vType", "imgFile"), ("vType", "osgFile")),
            *(("calibrator", "output"), ("timedEvent", "dest")),
        )
    ),
    '<tlLogic id="q"><param key="file" value="{}"/></tlLogic>',
    '<vType id="q"><param key="device.toc.file" value="{}"/></vType>',
    '<vType id="q"><param key="device.ssm.file" value="{}"/></vType>',
)


@pytest.mark.parametrize("element", OUTPUTS)
def test_outputs_that_leave_the_bundle_are_refused(element: str, tmp_path: Path) -> None:
    for path in BAD_OUTPUTS:
        message = r"a\.add\.xml: .*(leads out of the bundle|isn't looked for|has .* in it|looks like a path)"
        refused(zipped(adding(element.format(path))), tmp_path, message)


@pytest.mark.parametrize(
    "path", ["n.net.xml", "N.NET.xml", "./x/../r.rou.xml", "s.sumocfg", "a.add.xml", "r.rou.xml/x"]
)
def test_outputs_never_overwrite_what_was_sent(path: str, tmp_path: Path) -> None:
    refused(zipped(adding(f'<edgeData id="q" file="{path}"/>')), tmp_path, "output .* would overwrite")


def test_an_output_is_no_folder_and_not_too_deep(tmp_path: Path) -> None:
    files = adding('<edgeData id="q" file="d"/><include href="d/i.xml"/>') | {"d/i.xml": b"<additional/>"}
    refused(zipped(files), tmp_path, "is a folder of the bundle")
    refused(zipped(adding(f'<edgeData id="q" file="{"d/" * 9}x"/>')), tmp_path, "9 folders deep")


@pytest.mark.parametrize(
    "inner",
    [
        '<edgeData id="q" file="x" edgesFile="/etc/passwd"/>',
        '<edgeData id="q" file="x" edgesFile="edges.txt"/>',
        '<calibrator id="q" edge="e" output="x.xml"/>',
        '<vType id="q"><param key="has.ssm.device" value="true"/></vType>',
        '<vType id="q"><param key="has.fcd-replay.device" value="true"/></vType>',
        '<vType id="q"><param key="device.fcd-replay.file" value="x"/></vType>',
        '<vType id="q" emissionClass="PHEMlight/../../../etc/x"/>',
        '<vehicle id="d/../../x" depart="0"/>',
        '<vType id="${HOME}"/>',
    ],
)
def test_what_works_outside_of_the_bundle_is_refused(inner: str, tmp_path: Path) -> None:
    refused(
        zipped(adding(inner)),
        tmp_path,
        r"a\.add\.xml: <.*(isn't looked for|files of its own|looks like a path)",
    )


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("absent.xml", r"a\.add\.xml: the path 'absent.xml' isn't in the bundle"),
        ("../x.xml", "leads out of the bundle"),
        ("/etc/passwd", "leads out of the bundle"),
        ("http://h/x.xml", "leads out of the bundle"),
        ("", "no file name"),
    ],
)
@pytest.mark.parametrize("element", ['<include href="{}"/>', '<variableSpeedSign id="q" file="{}"/>'])
def test_files_to_read_are_in_the_bundle(element: str, where: str, message: str, tmp_path: Path) -> None:
    if where or "include" in element:
        refused(zipped(adding(element.format(where))), tmp_path, message)


def test_included_files_are_checked_as_the_others(tmp_path: Path) -> None:
    def including(inner: str) -> bytes:
        text = f"<additional>{inner}</additional>".encode()
        return zipped(adding('<include href="d/i.xml"/>') | {"d/i.xml": text, "d/j.xml": b"<additional/>"})

    bundle = unpack_bundle(including('<include href="j.xml"/>'), tmp_path / "a")
    run(bundle, tmp_path / "a")
    assert (tmp_path / "a" / "d" / "j.xml").exists()
    (tmp_path / "b").mkdir()
    refused(including('<e1Detector file="/tmp/x"/>'), tmp_path / "b", r"d/i\.xml: .*leads out of the bundle")
    refused(including('<include href="j2.xml"/>'), tmp_path / "b", r"d/i\.xml: the path 'j2\.xml' isn't in")
    refused(
        including('<e1Detector file="j.xml"/>'), tmp_path / "b", r"d/i\.xml: output 'j\.xml' would overwrite"
    )
    refused(including('<include href="../a.add.xml"/>'), tmp_path / "b", "includes itself")
    # A default namespace hides elements from some readers, not from SUMO.
    hidden = b'<additional xmlns="q"><e1Detector file="/tmp/x"/></additional>'
    refused(zipped(sound(s__sumocfg=config(additional="h.xml"), h__xml=hidden)), tmp_path / "b", "leads out")


def test_networks_may_include_no_more_than_others(tmp_path: Path) -> None:
    refused(
        zipped(sound(n__net__xml=b'<net><include href="/etc/x"/></net>')), tmp_path, r"n\.net\.xml: <include>"
    )
    refused(b'<net><include href="x.xml"/></net>', tmp_path, "isn't in the bundle")


def test_includes_that_multiply_are_refused(tmp_path: Path) -> None:
    files = adding('<include href="i0.xml"/>')
    for k in range(12):
        twice = f'<include href="i{k + 1}.xml"/>' * 2
        files[f"i{k}.xml"] = f"<additional>{twice}</additional>".encode()
    files["i12.xml"] = b"<additional/>"
    refused(zipped(files), tmp_path, "makes SUMO read more than 1000 files")


def test_schemas_come_from_nowhere_else(tmp_path: Path) -> None:
    def naming(where: str) -> bytes:
        xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        text = f'<routes {xsi} xsi:noNamespaceSchemaLocation="{where}"/>'.encode()
        return zipped(sound(r__rou__xml=text))

    unpack_bundle(naming("http://sumo.dlr.de/xsd/routes_file.xsd"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    for where in ("http://10.0.0.1/x.xsd", "file:///etc/passwd", "x.xsd", "http://sumo.dlr.de@h/x.xsd"):
        refused(naming(where), tmp_path / "b", r"r\.rou\.xml: schemaLocation")
