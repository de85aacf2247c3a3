/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-addr.c - addresses as people type and read them. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "net/addr.h"

static void an_address_is_taken_apart_and_printed_as_it_was(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
	} cases[] = {
		{"192.0.2.1:4444", "192.0.2.1", 4444},
		{"[2001:db8::1]:65535", "2001:db8::1", 65535},
		{"[::]:0", "::", 0},
		{"[fe80::1%eth0]:1", "fe80::1%eth0", 1},
		{"host-2.example_x:80", "host-2.example_x", 80},
	};
	char printed[PF_ENDPOINT_TEXT_MAX];
	struct pf_endpoint endpoint;
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(cases); i++) {
		assert_int_equal(pf_endpoint_parse(cases[i].text, &endpoint, &err), 0);
		assert_string_equal(endpoint.host, cases[i].host);
		assert_int_equal(endpoint.port, cases[i].port);
		pf_endpoint_print(&endpoint, printed);
		assert_string_equal(printed, cases[i].text);
	}
}

static void what_is_no_address_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *text, *part_of_reason;
	} cases[] = {
		{"", "no \":PORT\""},
		{"host", "no \":PORT\""},
		{":4444", "no host"},
		{"[]:4444", "no host"},
		{"host:", "port"},
		{"host:65536", "port"},
		{"host:-1", "port"},
		{"host: 1", "port"},
		{"host:1x", "port"},
		{"2001:db8::1:4444", "brackets"},
		{"[2001:db8::1]", "no \"]:PORT\""},
		{"[2001:db8::1]4444", "no \"]:PORT\""},
		{"[host]:4444", "not IPv6"},
		{"[192.0.2.1]:4444", "not IPv6"},
		{"[2001:db8::1:4444", "no \"]:PORT\""},
		{"ho st:1", "neither a name"},
		{"*:1", "neither a name"},
		{"-x:1", "neither a name"},
	};
	struct pf_err err;

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(cases); i++) {
		struct pf_endpoint endpoint = {.host = "untouched"};

		assert_int_equal(pf_endpoint_parse(cases[i].text, &endpoint, &err), -1);
		assert_int_equal(err.class, PF_ERR_USAGE);
		if (!strstr(err.text, cases[i].part_of_reason))
			fail_msg("\"%s\": %s", cases[i].text, err.text);
		assert_string_equal(endpoint.host, "untouched");
	}
}

static void the_longest_host_fits_and_one_byte_more_does_not(void **state)
{
	char text[PF_HOST_MAX + 16], printed[PF_ENDPOINT_TEXT_MAX];
	struct pf_endpoint endpoint;
	struct pf_err err;

	(void)state;
	memset(text, 'a', PF_HOST_MAX + 1);
	memcpy(text + PF_HOST_MAX, ":65535", sizeof(":65535"));
	assert_int_equal(pf_endpoint_parse(text, &endpoint, &err), 0);
	pf_endpoint_print(&endpoint, printed);
	assert_string_equal(printed, text);

	memset(text, 'a', PF_HOST_MAX + 1);
	memcpy(text + PF_HOST_MAX + 1, ":65535", sizeof(":65535"));
	assert_int_equal(pf_endpoint_parse(text, &endpoint, &err), -1);
	assert_int_equal(err.class, PF_ERR_USAGE);
}

static void a_socket_address_is_printed_as_numbers(void **state)
{
	char printed[PF_ENDPOINT_TEXT_MAX];
	struct sockaddr_storage addr = {0};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(4444)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(1)};

	(void)state;
	assert_int_equal(inet_pton(AF_INET, "192.0.2.1", &in.sin_addr), 1);
	memcpy(&addr, &in, sizeof(in));
	pf_sockaddr_print(&addr, printed);
	assert_string_equal(printed, "192.0.2.1:4444");
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr), 1);
	memcpy(&addr, &in6, sizeof(in6));
	pf_sockaddr_print(&addr, printed);
	assert_string_equal(printed, "[2001:db8::1]:1");
	addr.ss_family = AF_UNIX;
	pf_sockaddr_print(&addr, printed);
	assert_string_equal(printed, "a local socket");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_taken_apart_and_printed_as_it_was),
		cmocka_unit_test(what_is_no_address_is_refused_with_a_reason),
		cmocka_unit_test(the_longest_host_fits_and_one_byte_more_does_not),
		cmocka_unit_test(a_socket_address_is_printed_as_numbers),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}
