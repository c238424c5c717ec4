"""View inheritance, by the rules of Odoo's reference."""

import pytest
from lxml import etree

from fbs_worker.connectors.arch import ArchError, extend, parse

BASE = """
<form>
  <header>
    <button name="confirm" type="object" string="Confirm" invisible="state != 'draft'"/>
    <button name="cancel" type="object"/>
    <field name="state" widget="statusbar"/>
  </header>
  <sheet><group name="left" class="a b"><field name="partner_id"/></group></sheet>
</form>
"""


@pytest.mark.parametrize(
    ("extension", "xpath", "expected"),
    [
        ('<button name="cancel" position="before"><button name="send"/></button>', "//header/button/@name", ["confirm", "send", "cancel"]),
        ('<button name="cancel" position="after"><button name="send"/><button name="print"/></button>', "//header/button/@name", ["confirm", "cancel", "send", "print"]),
        ('<header position="inside"><button name="send"/></header>', "//header/*/@name", ["confirm", "cancel", "state", "send"]),
        ('<header><button name="send"/></header>', "//header/*/@name", ["confirm", "cancel", "state", "send"]),
        ('<button name="cancel" position="replace"/>', "//header/button/@name", ["confirm"]),
        ('<button name="cancel" position="replace"><button name="void"/></button>', "//header/button/@name", ["confirm", "void"]),
        ('<button name="cancel" position="replace"><div id="around">$0</div></button>', "//div[@id='around']/button/@name", ["cancel"]),
        ('<xpath expr="//header" position="replace" mode="inner"><button name="only"/></xpath>', "//header/*/@name", ["only"]),
        ('<form position="replace"><form><button name="new"/></form></form>', "/form/*/@name", ["new"]),
        ("<xpath expr=\"//group[hasclass('b')]/field\" position=\"after\"><field name='date'/></xpath>", "//group/field/@name", ["partner_id", "date"]),
        ('<field name="partner_id" position="before"><field name="date"/></field>', "//group/field/@name", ["date", "partner_id"]),
        ('<data><button name="cancel" position="replace"/><button name="confirm" position="replace"/></data>', "//header/button/@name", []),
        ('<field name="partner_id" position="before"><button name="cancel" position="move"/></field>', "//group/*/@name", ["cancel", "partner_id"]),
        ('<button name="confirm" position="attributes"><attribute name="invisible">locked</attribute></button>', "//button[1]/@invisible", ["locked"]),
        ('<button name="confirm" position="attributes"><attribute name="invisible"/></button>', "//button[1]/@invisible", []),
        ('<button name="confirm" position="attributes"><attribute name="invisible" add="locked" separator=" or "/></button>', "//button[1]/@invisible", ["(state != 'draft') or (locked)"]),
        ('<button name="confirm" position="attributes"><attribute name="invisible" remove="state != \'draft\'" separator="or"/></button>', "//button[1]/@invisible", []),
        ('<group name="left" position="attributes"><attribute name="class" add="c" remove="a" separator=" "/></group>', "//group/@class", ["b c"]),
        ('<button name="missing" position="after"><button name="lost"/></button>', "//header/button/@name", ["confirm", "cancel"]),
        ('<xpath expr="//*[" position="after"><button name="lost"/></xpath>', "//header/button/@name", ["confirm", "cancel"]),
    ],
)  # fmt: skip
def test_a_spec_is_applied_by_the_rules_of_the_reference(extension: str, xpath: str, expected: list[str]) -> None:
    tree = extend(parse(BASE), parse(extension))
    assert tree.xpath(xpath) == expected


def test_an_arch_that_is_not_xml_is_an_error() -> None:
    with pytest.raises(ArchError):
        parse("<form><header></form>")


def test_an_arch_cannot_make_the_parser_read_a_file() -> None:
    evil = '<!DOCTYPE form [<!ENTITY x SYSTEM "file:///etc/hostname">]><form><button name="a" string="&x;"/></form>'
    try:
        tree = parse(evil)
    except ArchError:
        return
    assert "&x;" in etree.tostring(tree, encoding="unicode") or tree[0].get("string") in {None, ""}
