# An X server and its windows.
desk.wait_for_unit("multi-user.target")
desk.succeed("systemd-run --quiet --unit=screen Xvfb :0 -screen 0 640x480x24 -ac")
desk.wait_for_x(timeout=120)
desk.succeed("systemd-run --quiet --unit=term -E DISPLAY=:0 xterm -T 'a terminal of the test'")
desk.wait_for_window("a terminal of .* test", timeout=120)
assert "a terminal of the test" in desk.get_window_names()
desk.succeed("systemctl stop term")
with t.assertRaises(Exception):
    desk.wait_for_window("no such window", timeout=1)
