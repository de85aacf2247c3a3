/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-names.c - names are looked up beside those who wait; the name server is this program, which answers
 * when it is told to.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/names.h"

#define PATIENCE_NS (20 * PF_NS_PER_S)
#define SHORT_NS (50 * PF_NS_PER_MS)

static struct {
	pthread_mutex_t lock;
	pthread_cond_t news;
	bool silent;
	unsigned asked, answered;
	int failure;
	uint32_t address;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};

struct record {
	struct addrinfo info; /* first: it is what is freed */
	struct sockaddr_in address;
};

static struct addrinfo *record_of(uint32_t address)
{
	struct record *record = calloc(1, sizeof(*record));

	assert_non_null(record);
	record->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
	record->info = (struct addrinfo){.ai_family = AF_INET,
					 .ai_addrlen = sizeof(record->address),
					 .ai_addr = (struct sockaddr *)&record->address};
	return &record->info;
}

/* In the place of libc's; what is no name it does not know. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	int failure;

	(void)host, (void)service;
	if (hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	pthread_mutex_lock(&server.lock);
	server.asked++;
	pthread_cond_broadcast(&server.news);
	while (server.silent)
		pthread_cond_wait(&server.news, &server.lock);
	failure = server.failure;
	if (!failure)
		*out = record_of(server.address);
	server.answered++;
	pthread_cond_broadcast(&server.news);
	pthread_mutex_unlock(&server.lock);
	return failure;
}

void freeaddrinfo(struct addrinfo *list)
{
	free(list);
}

static void be(bool silent, int failure, uint32_t address)
{
	pthread_mutex_lock(&server.lock);
	server.silent = silent;
	server.failure = failure;
	server.address = address;
	server.asked = server.answered = 0;
	pthread_cond_broadcast(&server.news);
	pthread_mutex_unlock(&server.lock);
}

/* And all who wait for it have their answer, which their threads have yet to note. */
static void speak(unsigned answers)
{
	struct timespec until;
	int failure = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(PATIENCE_NS / PF_NS_PER_S);
	pthread_mutex_lock(&server.lock);
	server.silent = false;
	pthread_cond_broadcast(&server.news);
	while (server.answered < answers && !failure)
		failure = pthread_cond_timedwait(&server.news, &server.lock, &until);
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(failure, 0);
}

static unsigned asked(void)
{
	unsigned count;

	pthread_mutex_lock(&server.lock);
	count = server.asked;
	pthread_mutex_unlock(&server.lock);
	return count;
}

static int find(const char *host, uint64_t within_ns, int cancel_fd, uint32_t *out_address)
{
	struct pf_endpoint endpoint = {.port = 4444};
	struct pf_addresses found;
	struct sockaddr_in in;
	struct pf_err err;

	memcpy(endpoint.host, host, strlen(host) + 1);
	if (pf_names_find(&endpoint, pf_now_ns() + within_ns, cancel_fd, &found, &err)) {
		assert_int_equal(err.class, PF_ERR_UNREACHABLE);
		assert_non_null(strstr(err.text, host));
		return -1;
	}
	assert_int_equal(found.count, 1);
	memcpy(&in, &found.address[0], sizeof(in));
	assert_int_equal(ntohs(in.sin_port), 4444);
	*out_address = ntohl(in.sin_addr.s_addr);
	return 0;
}

static void assert_found(const char *host, uint32_t address)
{
	uint32_t found = 0;

	assert_int_equal(find(host, PATIENCE_NS, -1, &found), 0);
	assert_int_equal(found, address);
}

/* The answer of a while ago, once its thread has noted it; what was known before counts until then. */
static void assert_leads_to(const char *host, uint32_t address)
{
	uint64_t until = pf_now_ns() + PATIENCE_NS;
	uint32_t found;

	do {
		assert_true(pf_now_ns() < until);
		assert_int_equal(find(host, PATIENCE_NS, -1, &found), 0);
	} while (found != address);
}

static void a_name_leads_to_what_the_name_server_says(void **state)
{
	(void)state;
	be(false, 0, 1);
	assert_found("one", 1);
	be(false, 0, 2);
	assert_found("one", 2); /* it is asked each time */
	assert_int_equal(asked(), 1);
}

static void what_is_not_known_is_waited_for_until_the_deadline(void **state)
{
	uint64_t start = pf_now_ns();
	uint32_t found;

	(void)state;
	be(true, 0, 3);
	assert_int_equal(find("two", SHORT_NS, -1, &found), -1);
	assert_in_range(pf_now_ns() - start, SHORT_NS, PATIENCE_NS);
	speak(1);
	assert_found("two", 3);
}

static void who_is_told_to_leave_does(void **state)
{
	int cancel = eventfd(1, EFD_CLOEXEC);
	uint64_t start = pf_now_ns();
	uint32_t found;

	(void)state;
	be(true, 0, 4);
	assert_int_equal(find("three", PATIENCE_NS, cancel, &found), -1);
	assert_true(pf_now_ns() - start < PATIENCE_NS);
	speak(1);
	close(cancel);
}

static void a_name_server_that_is_silent_costs_a_moment_where_something_is_known(void **state)
{
	uint64_t start;

	(void)state;
	be(false, 0, 5);
	assert_found("four", 5);
	be(true, 0, 6);
	start = pf_now_ns();
	assert_found("four", 5);
	assert_found("four", 5);
	assert_true(pf_now_ns() - start < PATIENCE_NS / 10);
	assert_int_equal(asked(), 1); /* however many come meanwhile */
	speak(1);
	assert_leads_to("four", 6);
}

static void a_name_that_is_gone_leads_where_it_did(void **state)
{
	uint32_t found;

	(void)state;
	be(false, 0, 7);
	assert_found("five", 7);
	be(false, EAI_NONAME, 0);
	assert_found("five", 7);
	assert_int_equal(find("six", PATIENCE_NS, -1, &found), -1);
}

static void what_somebody_else_has_found_out_counts(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(8)};
	struct sockaddr_storage address = {0};

	(void)state;
	memcpy(&address, &in, sizeof(in));
	pf_names_know("seven", &address);
	be(true, 0, 9);
	assert_found("seven", 8);
	speak(1);
	assert_leads_to("seven", 9);
}

static void as_many_names_as_there_are_places_are_looked_up_and_no_more(void **state)
{
	char host[] = "a";
	uint32_t found;

	(void)state;
	be(true, 0, 10);
	for (unsigned i = 0; i < 16; i++, host[0]++)
		assert_int_equal(find(host, 0, -1, &found), -1);
	assert_int_equal(find("more", 0, -1, &found), -1);
	speak(16);
	assert_int_equal(asked(), 16);
	/* Each has its answer, and its place is free once its thread has noted that. */
	while (find("more", PATIENCE_NS, -1, &found))
		continue;
	assert_int_equal(found, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_name_leads_to_what_the_name_server_says),
		cmocka_unit_test(what_is_not_known_is_waited_for_until_the_deadline),
		cmocka_unit_test(who_is_told_to_leave_does),
		cmocka_unit_test(a_name_server_that_is_silent_costs_a_moment_where_something_is_known),
		cmocka_unit_test(a_name_that_is_gone_leads_where_it_did),
		cmocka_unit_test(what_somebody_else_has_found_out_counts),
		cmocka_unit_test(as_many_names_as_there_are_places_are_looked_up_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
