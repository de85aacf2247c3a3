/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-tcp.c - listening, connecting against a deadline, priorities. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/connect.h"
#include "net/tcp.h"
#include "net/wait.h"

#define PATIENCE_NS (20 * PF_NS_PER_S)

static uint16_t port_of(const struct sockaddr_storage *addr)
{
	struct sockaddr_in in;

	memcpy(&in, addr, sizeof(in)); /* sin_port and sin6_port are at one place */
	return ntohs(in.sin_port);
}

static int listen_at(const char *host, struct pf_endpoint *out)
{
	struct sockaddr_storage bound;
	struct pf_err err;
	int fd;

	*out = (struct pf_endpoint){0};
	memcpy(out->host, host, strlen(host));
	if (pf_tcp_listen(out, &fd, &bound, &err))
		fail_msg("%s", err.text);
	out->port = port_of(&bound);
	assert_true(out->port > 0);
	return fd;
}

static void connect_and_accept(const char *host)
{
	struct pf_endpoint endpoint;
	struct sockaddr_storage peer, mine = {0};
	socklen_t length = sizeof(mine);
	struct pf_err err;
	int listener = listen_at(host, &endpoint);
	int client, server;

	assert_int_equal(pf_tcp_accept(listener, &server, &peer), -1);
	assert_int_equal(errno, EAGAIN);
	if (pf_tcp_connect(&endpoint, pf_now_ns() + PATIENCE_NS, -1, &client, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pf_wait_fd(listener, POLLIN, pf_now_ns() + PATIENCE_NS, -1), 0);
	assert_int_equal(pf_tcp_accept(listener, &server, &peer), 0);
	assert_int_equal(getsockname(client, (struct sockaddr *)&mine, &length), 0);
	assert_int_equal(port_of(&mine), port_of(&peer));
	/* Its own handshake was a round trip (a socket that never had one knows none). */
	assert_in_range(pf_tcp_min_rtt_ns(server), 1, PATIENCE_NS);
	assert_int_equal(pf_tcp_min_rtt_ns(listener), 0);
	assert_true(fcntl(client, F_GETFL) & fcntl(server, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(client, F_GETFD) & fcntl(server, F_GETFD) & FD_CLOEXEC);
	close(client);
	close(server);
	close(listener);
}

static void both_families_and_names_connect(void **state)
{
	(void)state;
	connect_and_accept("127.0.0.1");
	connect_and_accept("localhost");
	if (access("/proc/net/if_inet6", F_OK) == 0)
		connect_and_accept("::1");
}

struct pair {
	int listener, client, server;
};

static struct pair make_pair(void)
{
	struct pf_endpoint endpoint;
	struct sockaddr_storage peer;
	struct pf_err err;
	struct pair pair = {.listener = listen_at("127.0.0.1", &endpoint)};

	if (pf_tcp_connect(&endpoint, pf_now_ns() + PATIENCE_NS, -1, &pair.client, &err))
		fail_msg("%s", err.text);
	assert_int_equal(pf_wait_fd(pair.listener, POLLIN, pf_now_ns() + PATIENCE_NS, -1), 0);
	assert_int_equal(pf_tcp_accept(pair.listener, &pair.server, &peer), 0);
	return pair;
}

static void close_pair(const struct pair *pair)
{
	close(pair->client);
	close(pair->server);
	close(pair->listener);
}

/* Once everything is acknowledged that will be; a kernel tells nobody. */
static bool waits_for_ever(int fd)
{
	uint64_t until = pf_now_ns() + PATIENCE_NS, age, rtt;

	while (pf_tcp_waits(fd, &age, &rtt) && age < PF_NS_PER_S)
		if (pf_now_ns() > until)
			fail_msg("neither acknowledged nor old");
	return pf_tcp_waits(fd, &age, &rtt);
}

static void fill(int fd)
{
	static const char bytes[65536];

	while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		continue;
	assert_int_equal(errno, EAGAIN);
}

/* Its kernel acknowledges all that it has room for, and then that there is none. */
static void a_receiver_that_does_not_read_is_not_waited_for(void **state)
{
	struct pair pair = make_pair();
	uint64_t age, rtt;

	(void)state;
	assert_false(pf_tcp_waits(pair.client, &age, &rtt));
	assert_in_range(rtt, 1, PATIENCE_NS);
	fill(pair.client);
	assert_false(waits_for_ever(pair.client));
	close_pair(&pair);
}

/* The filter drops what comes, as a firewall would that has forgotten this flow. */
static void what_nobody_acknowledges_is_waited_for(void **state)
{
	struct sock_filter drop = {.code = BPF_RET | BPF_K};
	struct sock_fprog program = {.len = 1, .filter = &drop};
	struct pair pair = make_pair();

	(void)state;
	assert_int_equal(setsockopt(pair.server, SOL_SOCKET, SO_ATTACH_FILTER, &program,
				    sizeof(program)), 0);
	assert_int_equal(send(pair.client, "x", 1, 0), 1);
	assert_true(waits_for_ever(pair.client));
	close_pair(&pair);
}

static void a_port_in_use_is_named(void **state)
{
	struct pf_endpoint endpoint;
	struct sockaddr_storage bound;
	struct pf_err err;
	int listener = listen_at("127.0.0.1", &endpoint);
	int fd;

	(void)state;
	assert_int_equal(pf_tcp_listen(&endpoint, &fd, &bound, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(err.sys, EADDRINUSE);
	assert_non_null(strstr(err.text, "127.0.0.1:"));
	close(listener);
}

static void nobody_listening_is_unreachable_with_the_address(void **state)
{
	struct pf_endpoint endpoint;
	char text[PF_ENDPOINT_TEXT_MAX];
	struct pf_err err;
	int fd;

	(void)state;
	close(listen_at("127.0.0.1", &endpoint));
	assert_int_equal(pf_tcp_connect(&endpoint, pf_now_ns() + PATIENCE_NS, -1, &fd, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_int_equal(err.sys, ECONNREFUSED);
	pf_endpoint_print(&endpoint, text);
	assert_non_null(strstr(err.text, text));
}

/* Linux drops a SYN whose listener has its queue full: the peer that never answers. */
static int fill_queue(struct pf_endpoint *out, int *out_filler)
{
	struct pf_err err;
	int listener = listen_at("127.0.0.1", out);

	assert_int_equal(listen(listener, 0), 0);
	assert_int_equal(pf_tcp_connect(out, pf_now_ns() + PATIENCE_NS, -1, out_filler, &err), 0);
	return listener;
}

static void a_silent_address_ends_at_the_deadline(void **state)
{
	struct pf_endpoint endpoint;
	struct pf_err err;
	int filler, fd;
	int listener = fill_queue(&endpoint, &filler);
	uint64_t start = pf_now_ns();

	(void)state;
	assert_int_equal(pf_tcp_connect(&endpoint, start + 50 * PF_NS_PER_MS, -1, &fd, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_int_equal(err.sys, ETIMEDOUT);
	assert_true(pf_now_ns() - start >= 50 * PF_NS_PER_MS);
	assert_true(pf_now_ns() - start < PATIENCE_NS);
	close(filler);
	close(listener);
}

static struct sockaddr_storage number(const struct pf_endpoint *endpoint)
{
	struct sockaddr_storage at;
	struct pf_err err;
	uint32_t count;

	assert_int_equal(pf_tcp_resolve(endpoint, &at, 1, &count, &err), 0);
	return at;
}

/* A name with two numbers, of which the first swallows packets; who waited for its end, in one of many attempts that
 * are given up after 1.5 s, never came to the second. */
static void the_next_number_of_a_name_does_not_wait_for_the_first_ones_end(void **state)
{
	struct pf_endpoint silent, other;
	int filler, fd, listener = fill_queue(&silent, &filler), there = listen_at("127.0.0.1", &other);
	struct pf_addresses both = {2, {number(&silent), number(&other)}};
	uint64_t start = pf_now_ns();
	uint32_t which;

	(void)state;
	assert_int_equal(pf_connect_first(&both, start + PATIENCE_NS, -1, &fd, &which), 0);
	assert_true(pf_now_ns() - start >= 250 * PF_NS_PER_MS);
	assert_true(pf_now_ns() - start < 1500 * PF_NS_PER_MS);
	close(fd);
	close(there);
	/* One that refuses is passed at once, and the silent one is waited for until the end. */
	both.address[1] = both.address[0];
	both.address[0] = number(&other);
	start = pf_now_ns();
	assert_int_equal(pf_connect_first(&both, start + 100 * PF_NS_PER_MS, -1, &fd, &which), ETIMEDOUT);
	assert_int_equal(which, 1);
	/* Nobody is there: the last word is the last one's. */
	both.address[1] = both.address[0];
	assert_int_equal(pf_connect_first(&both, start + PATIENCE_NS, -1, &fd, &which), ECONNREFUSED);
	assert_int_equal(which, 1);
	close(filler);
	close(listener);
}

static void *cancel_main(void *fd)
{
	uint64_t one = 1;

	return write(*(int *)fd, &one, sizeof(one)) == sizeof(one) ? NULL : fd;
}

static void a_connect_ends_at_once_when_it_is_cancelled(void **state)
{
	struct pf_endpoint endpoint;
	struct pf_err err;
	int filler, fd;
	int listener = fill_queue(&endpoint, &filler);
	int cancel = eventfd(0, EFD_CLOEXEC);
	uint64_t start = pf_now_ns();
	pthread_t thread;
	void *failed;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, cancel_main, &cancel), 0);
	assert_int_equal(pf_tcp_connect(&endpoint, start + PATIENCE_NS, cancel, &fd, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_int_equal(err.sys, ECANCELED);
	assert_true(pf_now_ns() - start < PATIENCE_NS);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	close(cancel);
	close(filler);
	close(listener);
}

static void a_name_that_cannot_be_resolved_is_unreachable(void **state)
{
	struct pf_endpoint endpoint = {.port = 1};
	struct pf_err err;
	int fd;

	(void)state;
	/* A label has 63 bytes at most (RFC 1035): no resolver needs to be asked. */
	memset(endpoint.host, 'a', 64);
	assert_int_equal(pf_tcp_connect(&endpoint, pf_now_ns() + PATIENCE_NS, -1, &fd, &err), -1);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	assert_non_null(strstr(err.text, endpoint.host));
}

static int get_int(int fd, int level, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);

	assert_int_equal(getsockopt(fd, level, option, &value, &length), 0);
	return value;
}

static void the_urgent_socket_goes_first(void **state)
{
	int urgent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bulk = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	pf_tcp_tune(urgent, true);
	pf_tcp_tune(bulk, false);
	assert_int_equal(get_int(urgent, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(get_int(bulk, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_true(get_int(urgent, SOL_SOCKET, SO_PRIORITY) >
		    get_int(bulk, SOL_SOCKET, SO_PRIORITY));
	assert_int_equal(get_int(urgent, IPPROTO_IP, IP_TOS), 46 << 2);
	assert_int_equal(get_int(bulk, IPPROTO_IP, IP_TOS), 8 << 2);
	assert_int_equal(get_int(bulk, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 128 * 1024);
	/* Accepted as bulk, and then HELLO says that it is the urgent one. */
	pf_tcp_tune(bulk, true);
	assert_int_equal(get_int(bulk, IPPROTO_TCP, TCP_NOTSENT_LOWAT), -1);
	close(urgent);
	close(bulk);
}

static void the_marks_are_those_of_ip_6_too(void **state)
{
	int urgent = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bulk = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(urgent >= 0 && bulk >= 0);
	pf_tcp_tune(urgent, true);
	pf_tcp_tune(bulk, false);
	assert_int_equal(get_int(urgent, IPPROTO_IPV6, IPV6_TCLASS), 46 << 2);
	assert_int_equal(get_int(bulk, IPPROTO_IPV6, IPV6_TCLASS), 8 << 2);
	assert_true(get_int(urgent, SOL_SOCKET, SO_PRIORITY) >
		    get_int(bulk, SOL_SOCKET, SO_PRIORITY));
	/* What an IPv4 peer behind such a socket gets (RFC 3493 section 3.7). */
	assert_int_equal(get_int(urgent, IPPROTO_IP, IP_TOS), 46 << 2);
	close(urgent);
	close(bulk);
}


struct alone {
	bool possible;
	int result;
	struct pf_err err;
};

/* In a network of its own whose only ephemeral port is the one that it connects to. */
static void *connect_to_itself(void *argument)
{
	struct alone *alone = argument;
	struct pf_endpoint endpoint = {.host = "127.0.0.1", .port = 40000};
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	static const char range[] = "40000 40000\n";
	pf_auto_fd int control = -1, ports = -1;
	int fd;

	if (unshare(CLONE_NEWNET) != 0)
		return NULL;
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ports = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
	if (control < 0 || ports < 0 || ioctl(control, SIOCSIFFLAGS, &lo) != 0 ||
	    write(ports, range, sizeof(range) - 1) < 0)
		return NULL;
	alone->possible = true;
	alone->result = pf_tcp_connect(&endpoint, pf_now_ns() + PATIENCE_NS, -1, &fd, &alone->err);
	return NULL;
}

static void a_connection_to_itself_is_nobody_listening(void **state)
{
	struct alone alone = {.possible = false};
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, connect_to_itself, &alone), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (!alone.possible) {
		print_message("skipped: a network namespace needs root\n");
		skip();
	}
	assert_int_equal(alone.result, -1);
	assert_int_equal(alone.err.sys, ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_families_and_names_connect),
		cmocka_unit_test(a_receiver_that_does_not_read_is_not_waited_for),
		cmocka_unit_test(what_nobody_acknowledges_is_waited_for),
		cmocka_unit_test(a_port_in_use_is_named),
		cmocka_unit_test(nobody_listening_is_unreachable_with_the_address),
		cmocka_unit_test(a_silent_address_ends_at_the_deadline),
		cmocka_unit_test(the_next_number_of_a_name_does_not_wait_for_the_first_ones_end),
		cmocka_unit_test(a_connect_ends_at_once_when_it_is_cancelled),
		cmocka_unit_test(a_name_that_cannot_be_resolved_is_unreachable),
		cmocka_unit_test(the_urgent_socket_goes_first),
		cmocka_unit_test(the_marks_are_those_of_ip_6_too),
		cmocka_unit_test(a_connection_to_itself_is_nobody_listening),
	};

	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
