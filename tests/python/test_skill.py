"""The skill: installed where tools look, valid, kept when edited, and true: its commands run as pasted."""

import json
import os
import random
import re
import subprocess
import sys

import pytest
import skills_ref
from PIL import Image

import mounts

BODY = mounts.ROOT / "src" / "dcfs" / "skill" / "SKILL.md"

BLOCKS = re.findall(r"```sh( mount)?\n(.*?)```", BODY.read_text(), re.DOTALL)
"""The commands of a page, and whether each needs a mount."""


@pytest.fixture
def project(tmp_path):
    """A repository, sufficiently for tools that look for one."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


def photos(folder):
    """Nine pictures of three labels."""
    draw = random.Random(0)
    folder.mkdir()
    for number, label in enumerate(["pug", "beagle", "shiba"] * 3):
        size = (300 + 50 * number, 200)
        picture = Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1]))
        picture.save(folder / f"{label}_{number // 3 + 1}.jpg", quality=20)


@pytest.mark.mount
def test_every_command_of_the_skill_runs_as_pasted(dcfs, tmp_path):
    programs, folder = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    folder.mkdir()
    (programs / "dcfs").symlink_to(mounts.DCFS)
    (programs / "python").symlink_to(sys.executable)
    dcfs.environment |= {
        "PATH": f"{programs}:{dcfs.environment['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    photos(folder / "photos")
    dcfs.ok("index", "./photos", "--save", "pets", "--with", "image", "--with", "path:{label}_{n:int}", cwd=folder)
    assert len(BLOCKS) >= 5
    try:
        for _, block in BLOCKS:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=folder, env=dcfs.environment, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    finally:
        if mounts.mounted(folder / "mnt"):
            mounts.force_unmount(folder / "mnt")


def test_every_command_named_in_the_skill_is_there(dcfs):
    text = re.sub(r"```.*?```", "", BODY.read_text(), flags=re.DOTALL)
    for command, flags in re.findall(r"`dcfs (\w+)([^`]*)`", text):
        told = dcfs.ok(command, "--help")
        for flag in re.findall(r"--[a-z-]+", flags):
            assert flag in told, (command, flag)


TARGETS = {
    "agents": ".agents/skills", "claude": ".claude/skills", "codex": ".agents/skills", "copilot": ".github/skills",
    "cursor": ".cursor/skills", "gemini": ".gemini/skills", "opencode": ".opencode/skills", "pi": ".pi/skills",
}  # fmt: skip


def test_a_project_has_it_for_every_tool(dcfs, project):
    inside = project / "a" / "b"
    inside.mkdir(parents=True)
    dcfs.ok("skill", "install", "--project", "--target", ",".join(TARGETS), cwd=inside)
    for tool, skills in TARGETS.items():
        page = project / skills / "dcfs" / "SKILL.md"
        text = page.read_text()
        assert skills_ref.validate(page.parent) == [], tool
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (page.parent / link).is_file(), link
        assert str(project) not in text, "a skill of a project can be committed"
    again = dcfs.ok("skill", "install", "--project", "--target", "claude", cwd=project)
    assert "is up to date" in again
    listed = json.loads(dcfs.ok("skill", "list", "--json", cwd=project))
    assert {line["target"] for line in listed if line["installed"] and line["scope"] == "project"} == set(TARGETS)
    dcfs.ok("skill", "uninstall", "--project", "--target", ",".join(TARGETS), cwd=project)
    assert not list(project.rglob("SKILL.md"))


def test_the_tools_that_are_there_get_it(dcfs, tmp_path):
    assert ".agents/skills" in dcfs.ok("skill", "install", cwd=tmp_path), "where no tool is"
    dcfs.ok("skill", "uninstall", cwd=tmp_path)
    for sign in [".claude", ".config/opencode", ".pi"]:
        (dcfs.home / sign).mkdir(parents=True)
    done = json.loads(dcfs.ok("skill", "install", "--target", "claude,opencode,pi", "--json", cwd=tmp_path))
    places = {line["target"]: os.path.relpath(line["path"], dcfs.home) for line in done}
    assert places == {
        "claude": ".claude/skills/dcfs",
        "opencode": ".config/opencode/skills/dcfs",
        "pi": ".pi/agent/skills/dcfs",
    }


def test_what_was_edited_by_hand_is_kept(dcfs, project):
    page = project / ".claude" / "skills" / "dcfs" / "SKILL.md"
    install = ["skill", "install", "--project", "--target", "claude"]
    dcfs.ok(*install, cwd=project)
    page.write_text("mine")
    assert "kept (--force): SKILL.md" in dcfs.ok(*install, cwd=project)
    assert page.read_text() == "mine"
    assert "edited: SKILL.md" in dcfs.ok("skill", "list", cwd=project)
    dcfs.ok(*install, "--force", cwd=project)
    assert page.read_text().startswith("---\nname: dcfs\n")


def test_doctor_tells_of_an_older_one(dcfs, project):
    dcfs.ok("skill", "install", "--project", "--target", "claude", cwd=project)
    assert "dcfs skill install" not in dcfs.run("doctor", cwd=project).stdout
    note = project / ".claude" / "skills" / "dcfs" / ".dcfs.json"
    old = json.loads(note.read_text()) | {"version": "0.0.1"}
    old["files"]["SKILL.md"] = "0" * 64
    note.write_text(json.dumps(old))
    assert "is of version 0.0.1; bring it up to date: dcfs skill install" in dcfs.run("doctor", cwd=project).stdout


def test_one_copy_and_links(dcfs, project):
    dcfs.ok("skill", "install", "--project", "--link", "--target", "claude,codex,cursor", cwd=project)
    for tool in ["claude", "cursor"]:
        link = project / f".{tool}" / "skills" / "dcfs"
        assert os.readlink(link) == "../../.agents/skills/dcfs"
        assert (link / "SKILL.md").is_file()
    dcfs.ok("skill", "uninstall", "--project", "--target", "claude,codex,cursor", cwd=project)
    assert not list(project.rglob("dcfs"))


def test_agents_md_has_lines_between_markers(dcfs, project):
    page = project / "AGENTS.md"
    page.write_text("# Rules\n\nBe kind.\n")
    for _ in range(2):
        dcfs.ok("skill", "install", "--project", "--agents-md", cwd=project)
    text = page.read_text()
    assert text.startswith("# Rules\n\nBe kind.\n\n<!-- dcfs: begin -->\n")
    assert text.count("dcfs: begin") == text.count("dcfs: end") == 1
    dcfs.ok("skill", "uninstall", "--project", "--agents-md", cwd=project)
    assert page.read_text() == "# Rules\n\nBe kind.\n"


def test_its_pages_are_shown(dcfs):
    assert dcfs.ok("skill", "show").startswith("---\nname: dcfs\n")
    assert dcfs.ok("skill", "show", "sql").startswith("# SQL")
    missing = dcfs.run("skill", "show", "../../etc/passwd")
    assert missing.returncode == 1 and "filters, knowledge, map, sql, tables, training" in missing.stderr
