"""Who may send, decided before anything is listened to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from osteon.clinical.address import Address, check_title, is_within
from osteon.errors import SettingsError

TLS = {"certificate": Path("chain.pem"), "key": Path("key.pem")}


@pytest.mark.parametrize(
    ("caller", "networks", "within"),
    [
        ("10.1.2.3", ("192.168.0.0/16", "10.1.0.0/16"), True),
        ("10.2.0.1", ("192.168.0.0/16", "10.1.0.0/16"), False),
        ("10.1.255.255", ("10.1.2.3/16",), True),
        ("10.1.2.3", ("10.1.2.3",), True),
        ("10.1.2.4", ("10.1.2.3",), False),
        ("::ffff:10.1.2.3", ("10.1.0.0/16",), True),
        ("::ffff:10.2.0.1", ("10.1.0.0/16",), False),
        ("fe80::1%eth0", ("fe80::/10",), True),
        ("fd00::a01:203", ("10.1.0.0/16",), False),
        ("10.1.2.3", (), False),
    ],
)
def test_callers_are_told_by_their_address(caller, networks, within):
    assert is_within(caller, Address(networks=networks).allowed()) is within


@pytest.mark.parametrize(
    ("host", "about"),
    [
        ("127.0.0.1", {}),
        ("::1", {}),
        ("localhost", {}),
        ("0.0.0.0", {"calling": ("PACS",)}),
        ("::", {"networks": ("fd00::/8",)}),
        ("10.1.2.3", {"authority": Path("authority.pem"), **TLS}),
    ],
)
def test_node_that_knows_who_may_send(host, about):
    address = Address(host=host, **about)
    address.check()
    with pytest.raises(SettingsError):
        replace(address, calling=("A" * 17,)).check()


@pytest.mark.parametrize(
    ("host", "about"),
    [
        ("0.0.0.0", {}),
        ("", {}),
        ("::", {}),
        ("10.1.2.3", TLS),
        ("10.1.2.3", {"authority": Path("authority.pem")}),
    ],
)
def test_node_that_is_open_to_anybody(host, about):
    """TLS in which callers need to show nothing keeps nobody out; an authority without TLS is not asked."""
    with pytest.raises(SettingsError, match="from anybody on the network") as found:
        Address(host=host, **about).check()
    assert found.value.where == f"--host {host}"
    assert "--allow-address" in found.value.hint


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_half_of_what_tls_needs_is_refused(missing):
    with pytest.raises(SettingsError, match="both") as found:
        Address(**{**TLS, missing: None}).check()
    assert found.value.where == "--tls-certificate, --tls-key"


@pytest.mark.parametrize("network", ["10.0.0.300", "10.1.2.3,10.1.2.4", "pacs.example.org", "10.0.0.0/33", ""])
def test_networks_that_are_none(network):
    with pytest.raises(SettingsError, match="not") as found:
        Address(networks=("10.0.0.0/8", network)).check()
    assert found.value.where == "--allow-address"
    assert "10.1.0.0/16" in found.value.hint


@pytest.mark.parametrize("title", ["A", "A" * 16, " A ", "A-1_b"])
def test_titles(title):
    check_title(title)
    with pytest.raises(SettingsError):
        check_title(title + "\\")


@pytest.mark.parametrize("title", ["A" * 17, "A\n", "A\\B", "  "])
@pytest.mark.parametrize("whose", ["ae_title", "calling"])
def test_every_title_is_checked(whose, title):
    value = title if whose == "ae_title" else ("GOOD", title)
    with pytest.raises(SettingsError, match="is not an AE title") as found:
        Address(**{whose: value}).check()
    assert repr(title) in found.value.what


def test_without_a_certificate_there_is_no_tls():
    assert Address(authority=Path("authority.pem")).tls() is None
