# A web server and a client, as most tests are.
start_all()

server.wait_for_unit("nginx.service")
server.wait_for_open_port(80)

with subtest("the page is served to another machine"):
    client.wait_for_unit("multi-user.target")
    page = client.succeed("curl -sf http://server/")
    assert "nginx" in page, page

with subtest("a page that is not there is a 404"):
    client.fail("curl -sf http://server/nothing")
    code = client.succeed("curl -s -o /dev/null -w '%{http_code}' http://server/nothing")
    t.assertEqual("404", code)

with subtest("the server restarts, and has another process then"):
    before = server.get_unit_property("nginx.service", "MainPID")
    server.systemctl("restart nginx.service")
    server.wait_for_unit("nginx.service")
    t.assertNotEqual(before, server.get_unit_property("nginx.service", "MainPID"))

with subtest("a server that is stopped does not answer"):
    server.stop_job("nginx.service")
    server.wait_for_closed_port(80)
    server.require_unit_state("nginx.service", "inactive")
    client.fail("curl -sf --max-time 5 http://server/")
    server.start_job("nginx.service")
    server.require_unit_state("nginx.service")
    client.wait_until_succeeds("curl -sf http://server/", timeout=60)
