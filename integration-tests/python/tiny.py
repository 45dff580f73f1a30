# A guest with nothing but busybox, and two machines whose names are no identifiers.
start_all()
assert box_1.name == "box-1" and "box-1" in [one.name for one in machines]
assert globals()["class"] in machines
assert box_1.succeed("hostname") == "box-1\n"
box_1.succeed("ping -c 1 class")
box_1.succeed("echo hello > /tmp/x")
box_1.wait_for_file("/tmp/x")
assert box_1.execute("exit 4") == (4, "")
box_1.crash()
globals()["class"].shutdown()
join_all()
