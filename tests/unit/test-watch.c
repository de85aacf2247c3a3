/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-watch.c - the way to a peer, watched while real interfaces, addresses and routes change.
 *
 * In a network namespace of its own; what cannot have one is skipped.
 */
#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "linkkit.h"
#include "net/watch.h"

#define PATIENCE_MS 20000 /* far beyond what anything here takes */
#define QUIET_MS 50

/* What is watched: from 192.0.2.1 to 192.0.2.2, over the veth pair "near" and "far". */
struct scene {
	struct pf_watch *watch;
	struct pf_flow flow;
	struct pf_path path;
};

static struct sockaddr_storage ip(const char *text)
{
	struct sockaddr_storage out = {0};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4444)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(4444)};

	if (strchr(text, ':')) {
		assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
		memcpy(&out, &in6, sizeof(in6));
	} else {
		assert_int_equal(inet_pton(AF_INET, text, &in.sin_addr), 1);
		memcpy(&out, &in, sizeof(in));
	}
	return out;
}

static unsigned look(struct scene *scene)
{
	struct pf_path before = scene->path;

	pf_watch_look(scene->watch, &scene->flow, &scene->path);
	return pf_path_compare(&before, &scene->path);
}

/* Looks again as soon as told to. */
static unsigned await_look(struct scene *scene)
{
	struct pollfd pfd = {.fd = pf_watch_fd(scene->watch), .events = POLLIN};

	if (poll(&pfd, 1, PATIENCE_MS) != 1)
		fail_msg("nothing was told; the path is %s: %s",
			 pf_path_state_name(scene->path.state), scene->path.why);
	assert_true(pf_watch_drain(scene->watch));
	return look(scene);
}

static unsigned await_news(struct scene *scene)
{
	unsigned news;

	while ((news = await_look(scene)) == 0)
		;
	return news;
}

/* On the way to a state others may be seen. */
static unsigned await_state(struct scene *scene, enum pf_path_state state)
{
	unsigned news = 0;

	while (scene->path.state != state)
		news |= await_news(scene);
	return news;
}

/* Until nothing more is told: a test that must be told by one change alone begins here. */
static void quiet(struct scene *scene)
{
	struct pollfd pfd = {.fd = pf_watch_fd(scene->watch), .events = POLLIN};

	while (poll(&pfd, 1, QUIET_MS) == 1)
		pf_watch_drain(scene->watch);
	look(scene);
}

static int set_up(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct pf_err err;

	*state = scene;
	if (!link_enter())
		return 0;
	link_veth("near", "far");
	link_ipv6("near", false); /* it would be told of changes by what IPv6 makes of them */
	link_ipv6("far", false);
	link_set("near", true);
	link_set("far", true);
	link_address("near", "192.0.2.1/24", true);
	scene->flow.local = ip("192.0.2.1");
	scene->flow.peer = ip("192.0.2.2");
	if (pf_watch_open(&scene->watch, &err))
		fail_msg("%s", err.text);
	look(scene);
	await_state(scene, PF_PATH_UP); /* the pair has its carrier a moment after it was set up */
	quiet(scene);
	return 0;
}

static int tear_down(void **state)
{
	struct scene *scene = *state;

	pf_watch_close(scene->watch);
	free(scene);
	return 0;
}

static struct scene *take(void **state, const char *test)
{
	struct scene *scene = *state;

	if (!scene->watch) {
		fprintf(stderr, "skip %s: no network namespace can be made\n", test);
		skip();
	}
	return scene;
}

static void test_the_way_is_described(void **state)
{
	struct scene *scene = take(state, __func__);
	char text[160];

	assert_string_equal(scene->path.interface.name, "near");
	assert_true(scene->path.interface.carrier);
	assert_int_equal(scene->path.interface.mtu, 1500);
	assert_string_equal(scene->path.why, "");
	pf_route_print(&scene->flow, &scene->path.route, text, sizeof(text));
	assert_string_equal(text, "192.0.2.2 from 192.0.2.1");
	assert_int_equal(look(scene), 0);
}

static void test_a_gateway_is_named(void **state)
{
	struct scene *scene = take(state, __func__);
	char text[160];

	link_route("198.51.100.0/24", "192.0.2.254", NULL, 0, true);
	scene->flow.peer = ip("198.51.100.9");
	assert_int_equal(look(scene), PF_PATH_MOVED);
	pf_route_print(&scene->flow, &scene->path.route, text, sizeof(text));
	assert_string_equal(text, "198.51.100.9 via 192.0.2.254 from 192.0.2.1");
}

static void test_an_interface_that_is_set_down_is_gone_and_up_it_is_back(void **state)
{
	struct scene *scene = take(state, __func__);

	link_set("near", false);
	assert_true(await_state(scene, PF_PATH_DOWN) & PF_PATH_GONE);
	assert_string_equal(scene->path.why, "interface near is set down");
	assert_string_equal(scene->path.interface.name, "near");
	link_set("near", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_a_lost_carrier_is_gone_and_found_it_is_back(void **state)
{
	struct scene *scene = take(state, __func__);

	link_set("far", false);
	assert_true(await_state(scene, PF_PATH_NO_CARRIER) & PF_PATH_GONE);
	assert_string_equal(scene->path.why, "interface near has no carrier");
	assert_false(scene->path.interface.carrier);
	link_set("far", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_a_dormant_interface_is_gone_and_awake_it_is_back(void **state)
{
	struct scene *scene = take(state, __func__);

	link_dormant("near", true);
	assert_true(await_state(scene, PF_PATH_NOT_RUNNING) & PF_PATH_GONE);
	assert_string_equal(scene->path.why, "interface near is dormant");
	link_dormant("near", false);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_an_interface_that_is_deleted_is_named_as_it_was(void **state)
{
	struct scene *scene = take(state, __func__);

	link_delete("near");
	assert_true(await_state(scene, PF_PATH_DOWN) & PF_PATH_GONE);
	while (strcmp(scene->path.why, "interface near is there no more") != 0)
		await_look(scene);
	assert_string_equal(scene->path.interface.name, "near");
}

static void test_a_deleted_route_is_gone_and_added_it_is_back(void **state)
{
	struct scene *scene = take(state, __func__);

	link_route("198.51.100.0/24", "192.0.2.254", NULL, 0, true);
	scene->flow.peer = ip("198.51.100.9");
	look(scene);
	link_route("198.51.100.0/24", "192.0.2.254", NULL, 0, false);
	assert_true(await_state(scene, PF_PATH_NO_ROUTE) & PF_PATH_GONE);
	assert_non_null(strstr(scene->path.why, "unreachable"));
	link_route("198.51.100.0/24", "192.0.2.254", NULL, 0, true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_a_route_that_drops_is_no_route(void **state)
{
	struct scene *scene = take(state, __func__);

	link_route("192.0.2.2/32", NULL, NULL, 0, true);
	assert_true(await_state(scene, PF_PATH_NO_ROUTE) & PF_PATH_GONE);
	link_route("192.0.2.2/32", NULL, NULL, 0, false);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_a_rule_that_drops_is_no_route(void **state)
{
	struct scene *scene = take(state, __func__);

	if (!link_rule("198.51.100.0/24")) { /* the first rule of all changes the tables too */
		fprintf(stderr, "skip %s: this kernel has no rules for routes\n", __func__);
		skip();
	}
	quiet(scene);
	assert_true(link_rule("192.0.2.2/32"));
	assert_true(await_state(scene, PF_PATH_NO_ROUTE) & PF_PATH_GONE);
}

static void test_an_address_that_is_taken_away_is_gone(void **state)
{
	struct scene *scene = take(state, __func__);

	link_address("near", "192.0.2.77/24", true); /* the way out remains */
	link_address("near", "192.0.2.1/24", false);
	link_route("192.0.2.0/24", NULL, "near", 0, true);
	assert_true(await_state(scene, PF_PATH_NO_ADDRESS) & PF_PATH_GONE);
	link_address("near", "192.0.2.1/24", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_without_a_connection_any_address_will_do(void **state)
{
	struct scene *scene = take(state, __func__);

	scene->flow.local.ss_family = AF_UNSPEC;
	link_address("near", "192.0.2.77/25", true);
	link_address("near", "192.0.2.1/24", false);
	assert_int_equal(await_news(scene), PF_PATH_MOVED);
	assert_string_equal(scene->path.route.source, "192.0.2.77");
}

static void test_another_mtu_is_told(void **state)
{
	struct scene *scene = take(state, __func__);

	link_mtu("near", 9000);
	assert_int_equal(await_news(scene), PF_PATH_MTU);
	assert_int_equal(scene->path.interface.mtu, 9000);
}

static void test_the_mtu_of_a_route_counts_before_the_interfaces(void **state)
{
	struct scene *scene = take(state, __func__);

	link_route("192.0.2.2/32", NULL, "near", 1280, true);
	assert_int_equal(await_news(scene), PF_PATH_MTU);
	assert_int_equal(scene->path.interface.mtu, 1280);
}

static void test_another_interface_is_told(void **state)
{
	struct scene *scene = take(state, __func__);

	link_veth("other", "beyond");
	link_set("other", true);
	link_set("beyond", true);
	link_route("192.0.2.2/32", NULL, "other", 0, true);
	assert_true(await_news(scene) & (PF_PATH_MOVED | PF_PATH_GONE));
	await_state(scene, PF_PATH_UP);
	assert_string_equal(scene->path.interface.name, "other");
	assert_string_equal(scene->path.route.source, "192.0.2.1");
}

static void await_interface(struct scene *scene, const char *name)
{
	while (scene->path.state != PF_PATH_UP || strcmp(scene->path.interface.name, name) != 0)
		await_look(scene);
}

static void test_another_way_takes_over_from_an_interface_that_goes_down(void **state)
{
	struct scene *scene = take(state, __func__);

	scene->flow.local.ss_family = AF_UNSPEC;
	link_veth("other", "beyond");
	link_ipv6("other", false);
	link_set("beyond", true);
	link_set("other", true);
	link_address("other", "203.0.113.1/24", true);
	link_route("0.0.0.0/0", "203.0.113.254", NULL, 0, true);
	quiet(scene);
	link_set("near", false);
	await_interface(scene, "other");
	assert_string_equal(scene->path.route.gateway, "203.0.113.254");
	link_set("near", true);
	await_interface(scene, "near");
}

static void test_a_bridge_has_the_carrier_of_its_ports(void **state)
{
	struct scene *scene = take(state, __func__);

	link_bridge("bridge");
	link_set("bridge", true);
	link_enslave("near", "bridge");
	link_address("near", "192.0.2.1/24", false);
	link_address("bridge", "192.0.2.1/24", true);
	await_interface(scene, "bridge");
	link_set("far", false);
	assert_true(await_state(scene, PF_PATH_NO_CARRIER) & PF_PATH_GONE);
	assert_string_equal(scene->path.why, "interface bridge has no carrier");
}

/* An interface that is on top of "near". */
static void follow_carrier(struct scene *scene, const char *name)
{
	link_set(name, true);
	link_address(name, "198.51.100.1/24", true);
	scene->flow.local = ip("198.51.100.1");
	scene->flow.peer = ip("198.51.100.2");
	look(scene);
	await_state(scene, PF_PATH_UP);
	assert_string_equal(scene->path.interface.name, name);
	link_set("far", false);
	assert_true(await_state(scene, PF_PATH_NO_CARRIER) & PF_PATH_GONE);
	link_set("far", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_a_vlan_has_the_carrier_of_what_it_is_on(void **state)
{
	struct scene *scene = take(state, __func__);

	if (!link_vlan("tagged", "near", 7)) {
		fprintf(stderr, "skip %s: this kernel has no VLANs (CONFIG_VLAN_8021Q)\n", __func__);
		skip();
	}
	follow_carrier(scene, "tagged");
}

/* Where a container's interface is one: for the kernel's notifications it is what a VLAN is. */
static void test_a_macvlan_has_the_carrier_of_what_it_is_on(void **state)
{
	struct scene *scene = take(state, __func__);

	if (!link_macvlan("second", "near")) {
		fprintf(stderr, "skip %s: this kernel has none (CONFIG_MACVLAN)\n", __func__);
		skip();
	}
	follow_carrier(scene, "second");
}

static void test_ipv6_is_watched_too(void **state)
{
	struct scene *scene = take(state, __func__);

	link_ipv6("near", true);
	link_address("near", "2001:db8::1/64", true);
	scene->flow.local = ip("2001:db8::1");
	scene->flow.peer = ip("2001:db8::2");
	look(scene);
	await_state(scene, PF_PATH_UP);
	link_set("far", false);
	assert_true(await_state(scene, PF_PATH_NO_CARRIER) & PF_PATH_GONE);
	link_set("far", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
	link_set("near", false); /* and its addresses of IPv6 are gone */
	assert_true(await_state(scene, PF_PATH_DOWN) & PF_PATH_GONE);
	link_set("near", true);
	await_state(scene, PF_PATH_NO_ADDRESS);
	quiet(scene);
	link_address("near", "2001:db8::1/64", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

static void test_ipv4_on_a_socket_of_ipv6_goes_by_the_routes_of_ipv4(void **state)
{
	struct scene *scene = take(state, __func__);

	scene->flow.local = ip("::ffff:192.0.2.1");
	scene->flow.peer = ip("::ffff:192.0.2.2");
	assert_int_equal(look(scene), 0);
	assert_int_equal(scene->path.state, PF_PATH_UP);
	link_set("near", false);
	assert_true(await_state(scene, PF_PATH_DOWN) & PF_PATH_GONE);
}

static void test_loopback_is_a_way_from_any_of_its_addresses(void **state)
{
	struct scene *scene = take(state, __func__);

	scene->flow.local = ip("127.0.0.9");
	scene->flow.peer = ip("127.0.0.1");
	look(scene);
	assert_int_equal(scene->path.state, PF_PATH_UP);
	assert_string_equal(scene->path.interface.name, "lo");
}

static void test_a_name_that_no_text_can_hold_is_shown_without_it(void **state)
{
	struct scene *scene = take(state, __func__);

	link_veth("odd\xff\x1b", "end");
	link_ipv6("end", false);
	link_set("end", true);
	link_set("odd\xff\x1b", true);
	link_route("192.0.2.2/32", NULL, "odd\xff\x1b", 0, true);
	await_interface(scene, "odd??");
}

static void test_what_is_no_address_is_unknown_and_no_reason_to_suspect(void **state)
{
	struct scene *scene = take(state, __func__);

	scene->flow.peer = (struct sockaddr_storage){.ss_family = AF_UNIX};
	assert_int_equal(look(scene), PF_PATH_OTHER);
	assert_int_equal(scene->path.state, PF_PATH_UNKNOWN);
	assert_string_equal(scene->path.why, "not an address of IP");
}

/* More than the socket takes; what matters comes when it is full, and is lost. */
static void test_what_was_lost_in_an_overrun_is_found(void **state)
{
	struct scene *scene = take(state, __func__);
	int bytes = 1, fd = pf_watch_fd(scene->watch);

	while (pf_watch_drain(scene->watch))
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
	for (uint32_t i = 0; i < 64; i++)
		link_mtu("far", 1500 + i % 2);
	link_set("near", false);
	assert_true(await_state(scene, PF_PATH_DOWN) & PF_PATH_GONE);
	assert_true(pf_watch_overruns(scene->watch) > 0);
	while (pf_watch_drain(scene->watch))
		;
	link_set("near", true);
	assert_true(await_state(scene, PF_PATH_UP) & PF_PATH_BACK);
}

/* Its exit status says what it saw; it says on `told` that it watches. */
static int watch_as_nobody(struct scene *scene, int told)
{
	struct pf_err err;

	pf_watch_close(scene->watch);
	scene->path = (struct pf_path){0};
	if (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 ||
	    setresuid(65534, 65534, 65534) != 0)
		return 2;
	if (pf_watch_open(&scene->watch, &err))
		return 3;
	look(scene);
	if (scene->path.state != PF_PATH_UP || write(told, "x", 1) != 1)
		return 4;
	return await_state(scene, PF_PATH_DOWN) & PF_PATH_GONE ? 0 : 5;
}

static void test_it_needs_no_privileges(void **state)
{
	struct scene *scene = take(state, __func__);
	int told[2], status = -1;
	char byte;
	pid_t child;

	if (geteuid() != 0) {
		fprintf(stderr, "skip %s: changing to nobody needs root\n", __func__);
		skip();
	}
	assert_int_equal(pipe(told), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(watch_as_nobody(scene, told[1]));
	close(told[1]);
	assert_int_equal(read(told[0], &byte, 1), 1);
	link_set("near", false);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(told[0]);
}

static void test_only_what_was_up_can_be_gone(void **state)
{
	static const struct {
		enum pf_path_state before, now;
		unsigned news;
	} rows[] = {
		{PF_PATH_UP, PF_PATH_UP, 0},
		{PF_PATH_UP, PF_PATH_NO_ROUTE, PF_PATH_GONE},
		{PF_PATH_UP, PF_PATH_UNKNOWN, PF_PATH_OTHER},
		{PF_PATH_UNKNOWN, PF_PATH_UP, PF_PATH_OTHER},
		{PF_PATH_UNKNOWN, PF_PATH_NO_ROUTE, PF_PATH_OTHER},
		{PF_PATH_NO_ROUTE, PF_PATH_UP, PF_PATH_BACK},
		{PF_PATH_NO_ROUTE, PF_PATH_DOWN, PF_PATH_OTHER},
		{PF_PATH_NO_ROUTE, PF_PATH_UNKNOWN, PF_PATH_OTHER},
		{PF_PATH_DOWN, PF_PATH_DOWN, 0},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(rows); i++) {
		struct pf_path before = {.state = rows[i].before}, now = {.state = rows[i].now};

		assert_int_equal(pf_path_compare(&before, &now), rows[i].news);
	}
}

#define WATCHED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WATCHED(test_the_way_is_described),
		WATCHED(test_a_gateway_is_named),
		WATCHED(test_an_interface_that_is_set_down_is_gone_and_up_it_is_back),
		WATCHED(test_a_lost_carrier_is_gone_and_found_it_is_back),
		WATCHED(test_a_dormant_interface_is_gone_and_awake_it_is_back),
		WATCHED(test_an_interface_that_is_deleted_is_named_as_it_was),
		WATCHED(test_a_deleted_route_is_gone_and_added_it_is_back),
		WATCHED(test_a_route_that_drops_is_no_route),
		WATCHED(test_a_rule_that_drops_is_no_route),
		WATCHED(test_an_address_that_is_taken_away_is_gone),
		WATCHED(test_without_a_connection_any_address_will_do),
		WATCHED(test_another_mtu_is_told),
		WATCHED(test_the_mtu_of_a_route_counts_before_the_interfaces),
		WATCHED(test_another_interface_is_told),
		WATCHED(test_another_way_takes_over_from_an_interface_that_goes_down),
		WATCHED(test_a_bridge_has_the_carrier_of_its_ports),
		WATCHED(test_a_vlan_has_the_carrier_of_what_it_is_on),
		WATCHED(test_a_macvlan_has_the_carrier_of_what_it_is_on),
		WATCHED(test_ipv6_is_watched_too),
		WATCHED(test_ipv4_on_a_socket_of_ipv6_goes_by_the_routes_of_ipv4),
		WATCHED(test_loopback_is_a_way_from_any_of_its_addresses),
		WATCHED(test_a_name_that_no_text_can_hold_is_shown_without_it),
		WATCHED(test_what_is_no_address_is_unknown_and_no_reason_to_suspect),
		WATCHED(test_what_was_lost_in_an_overrun_is_found),
		WATCHED(test_it_needs_no_privileges),
		cmocka_unit_test(test_only_what_was_up_can_be_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
