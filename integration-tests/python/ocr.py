# A graphical screen, which tesseract reads. As in guests of NixOS, the kernel draws its text console on it.
machine.wait_for_unit("multi-user.target")
machine.succeed("modprobe bochs")
machine.wait_until_succeeds("grep -q bochs /proc/fb", timeout=60)

with subtest("somebody logs in, with keys, and reads what comes"):
    machine.wait_for_text("login:", timeout=120)
    machine.send_chars("root\n")
    machine.wait_for_text("root@", timeout=120)
    machine.send_chars("clear; seq -s ' and ' 40 49\n")
    machine.wait_for_text("40 and 41 and 42", timeout=120)
    assert "48 and 49" in machine.get_screen_text(), machine.get_screen_text()

with subtest("it is graphics: readings differ, and there are several"):
    variants = machine.get_screen_text_variants()
    assert len(variants) > 1 and any("45 and 46" in text for text in variants), variants
    machine.screenshot("ocr")
    # The size of a picture is at the same place in every PNG.
    picture = (machine.out_dir / "ocr.png").read_bytes()
    assert int.from_bytes(picture[16:20], "big") >= 1024, picture[:24]

with subtest("a text that comes later ends the wait, one that never comes fails it"):
    machine.succeed("(sleep 4; printf '\\r\\nThe harvest is home\\r\\n' >/dev/tty1) >/dev/null 2>&1 &")
    machine.wait_for_text("harvest is (home|late)", timeout=120)
    with t.assertRaisesRegex(Exception, "timed out"):
        machine.wait_for_text("no such words", timeout=5)
