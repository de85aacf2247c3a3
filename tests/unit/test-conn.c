/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-conn.c - handshakes that succeed, are refused, hang; connections and their ends.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/wait.h"
#include "netkit.h"

static struct kit_dir dir, other;

static int make_dirs(void **state)
{
	(void)state;
	kit_dir_make(&dir, NULL);
	kit_dir_make(&other, NULL);
	return 0;
}

static int remove_dirs(void **state)
{
	(void)state;
	kit_dir_remove(&dir);
	kit_dir_remove(&other);
	return 0;
}

static struct kit_end end_of(const struct kit_dir *where, const char *peer_name)
{
	return (struct kit_end){.how = {.tls_dir = where->path, .peer_name = peer_name}};
}

static void expect_err(const struct pf_err *err, enum pf_err_class class, const char *part)
{
	if (err->class != class || !strstr(err->text, part))
		fail_msg("class %d, \"%s\"; expected class %d and \"%s\"", (int)err->class,
			 err->text, (int)class, part);
}

static void expect_refused(const struct kit_end *end, const char *part)
{
	assert_null(end->conn);
	expect_err(&end->err, PF_ERR_PROTOCOL, part);
	assert_non_null(strstr(end->err.text, "127.0.0.1:"));
}

/* The client's handshake is over before the server judges: it learns of it afterwards. */
static void expect_told(struct pf_conn *source)
{
	struct pf_err err;
	size_t done;
	char byte;

	assert_non_null(source);
	assert_int_equal(kit_read(source, &byte, 1, &done, &err), PF_IO_ERROR);
	expect_err(&err, PF_ERR_PROTOCOL, "the peer refused us");
	/* And never anything else. */
	assert_int_equal(pf_conn_write(source, "x", 1, &done, &err), PF_IO_ERROR);
	pf_conn_close(source);
}

static void exchange(struct pf_conn *from, struct pf_conn *to, const char *text)
{
	char buffer[64] = "";
	struct pf_err err;
	size_t done;

	assert_int_equal(kit_write_all(from, text, strlen(text), &err), PF_IO_OK);
	assert_int_equal(kit_read(to, buffer, sizeof(buffer), &done, &err), PF_IO_OK);
	assert_int_equal(done, strlen(text));
	assert_memory_equal(buffer, text, done);
}

static void two_that_trust_each_other_talk(void **state)
{
	struct pf_conn *source, *destination;

	(void)state;
	kit_pair(&dir, &source, &destination);
	assert_string_equal(pf_conn_cipher(source), "TLSv1.3 TLS_AES_128_GCM_SHA256");
	assert_string_equal(pf_conn_cipher(destination), "TLSv1.3 TLS_AES_128_GCM_SHA256");
	exchange(source, destination, "one");
	exchange(destination, source, "two");
	pf_conn_close(source);
	pf_conn_close(destination);
	pf_conn_close(NULL);
}

static void every_kind_of_name_works_in_a_handshake(void **state)
{
	static const struct {
		const char *sans, *name;
	} cases[] = {
		{"DNS:*.example.org", "host.example.org"},
		{"IP:127.0.0.1", "127.0.0.1"},
		{"IP:::1", "::1"},
		{"URI:spiffe://org/agent", "spiffe://org/agent"},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(cases); i++) {
		const struct pf_pki_names names = {
			.server = {.sans = cases[i].sans},
			.client = {.sans = cases[i].sans},
		};
		struct kit_end source = end_of(&dir, cases[i].name);
		struct kit_end destination = end_of(&dir, cases[i].name);
		struct pf_err err;

		assert_int_equal(pf_pki_make(dir.path, &names, &err), 0);
		kit_shake(&source, &destination);
		assert_non_null(source.conn);
		assert_non_null(destination.conn);
		pf_conn_close(source.conn);
		pf_conn_close(destination.conn);
	}
}

static void a_source_refuses_a_destination_of_another_authority(void **state)
{
	struct kit_end source = end_of(&dir, "destination");
	struct kit_end destination = end_of(&other, "source");

	(void)state;
	kit_shake(&source, &destination);
	expect_refused(&source, "not signed by ca-cert.pem");
	assert_non_null(strstr(source.err.text, "DNS:destination"));
	expect_refused(&destination, "the peer refused us");
	assert_non_null(strstr(destination.err.text, "unknown CA"));
}

static void a_destination_refuses_a_source_of_another_authority(void **state)
{
	struct kit_end source = end_of(&other, "destination");
	struct kit_end destination = end_of(&dir, "source");

	(void)state;
	/* The source trusts both authorities. */
	kit_copy(&dir, "ca-cert.pem", &other, "ca-cert.pem", true);
	kit_shake(&source, &destination);
	expect_refused(&destination, "not signed by ca-cert.pem");
	assert_non_null(strstr(destination.err.text, "DNS:source"));
	expect_told(source.conn);
}

static void a_source_refuses_a_destination_of_another_name(void **state)
{
	struct kit_end source = end_of(&dir, "elsewhere");
	struct kit_end destination = end_of(&dir, "source");

	(void)state;
	kit_shake(&source, &destination);
	expect_refused(&source, "elsewhere");
	assert_non_null(strstr(source.err.text, "DNS:destination"));
	assert_non_null(strstr(source.err.hint, "--peer-name"));
	expect_refused(&destination, "the peer refused us");
}

static void a_destination_refuses_a_source_of_another_name(void **state)
{
	struct kit_end source = end_of(&dir, "destination");
	struct kit_end destination = end_of(&dir, "somebody");

	(void)state;
	kit_shake(&source, &destination);
	expect_refused(&destination, "somebody");
	assert_non_null(strstr(destination.err.text, "DNS:source"));
	expect_told(source.conn);
}

static void a_refused_source_hears_why_though_it_writes_first(void **state)
{
	static char block[256 * 1024];
	struct kit_end source = end_of(&dir, "destination");
	struct kit_end destination = end_of(&dir, "somebody");
	enum pf_io io = PF_IO_OK;
	struct pf_err err;

	(void)state;
	kit_shake(&source, &destination);
	assert_null(destination.conn);
	assert_non_null(source.conn);
	for (int i = 0; i < 1000 && io == PF_IO_OK; i++)
		io = kit_write_all(source.conn, block, sizeof(block), &err);
	assert_int_equal(io, PF_IO_ERROR);
	expect_err(&err, PF_ERR_PROTOCOL, "the peer refused us");
	pf_conn_close(source.conn);
}

static void a_revoked_source_is_refused(void **state)
{
	const struct pf_pki_names names = {
		.server = {.sans = "DNS:destination"},
		.client = {.sans = "DNS:source", .revoked = true},
	};
	struct kit_raw raw = {.dir = &dir};
	struct kit_end destination = end_of(&dir, "source");
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_pki_make(dir.path, &names, &err), 0);
	kit_against(&raw, &destination);
	expect_refused(&destination, "revoked");
}

/* Ours has good files; the raw peer's come from the same authority, made by names. */
static void against_dated(const struct pf_pki_names *names, bool raw_is_server, const char *part)
{
	struct kit_raw raw = {.server = raw_is_server, .dir = &dir};
	struct kit_end ours = end_of(&dir, raw_is_server ? "destination" : "source");
	struct pf_err err;

	assert_int_equal(pf_pki_make(dir.path, names, &err), 0);
	kit_against(&raw, &ours);
	expect_refused(&ours, part);
}

static void certificates_out_of_their_time_are_refused(void **state)
{
	const struct pf_pki_names expired_client = {
		.server = {.sans = "DNS:destination"},
		.client = {.sans = "DNS:source", .from_s = -7200, .until_s = -3600},
	};
	const struct pf_pki_names early_client = {
		.server = {.sans = "DNS:destination"},
		.client = {.sans = "DNS:source", .from_s = 3600, .until_s = 7200},
	};
	const struct pf_pki_names expired_server = {
		.server = {.sans = "DNS:destination", .from_s = -7200, .until_s = -3600},
		.client = {.sans = "DNS:source"},
	};

	(void)state;
	against_dated(&expired_client, false, "expired on 20");
	against_dated(&early_client, false, "not valid before 20");
	against_dated(&expired_server, true, "expired on 20");
}

static void a_certificate_for_the_other_role_is_refused(void **state)
{
	struct kit_raw raw = {.server = true, .dir = &other};
	struct kit_end source = end_of(&dir, "source");

	(void)state;
	/* Whoever holds a source's certificate must not be able to play destination. */
	kit_copy(&dir, "client-cert.pem", &other, "server-cert.pem", false);
	kit_copy(&dir, "client-key.pem", &other, "server-key.pem", false);
	kit_against(&raw, &source);
	expect_refused(&source, "purpose");
}

static void a_source_without_certificate_is_refused(void **state)
{
	struct kit_raw raw = {.dir = NULL};
	struct kit_end destination = end_of(&dir, "source");

	(void)state;
	kit_against(&raw, &destination);
	expect_refused(&destination, "no certificate");
}

static void older_tls_is_refused_on_both_sides(void **state)
{
	struct kit_raw client = {.dir = &dir, .max_version = TLS1_2_VERSION};
	struct kit_raw server = {.server = true, .dir = &dir, .max_version = TLS1_2_VERSION};
	struct kit_end destination = end_of(&dir, "source");
	struct kit_end source = end_of(&dir, "destination");

	(void)state;
	kit_against(&client, &destination);
	expect_refused(&destination, "TLS 1.3");
	kit_against(&server, &source);
	expect_refused(&source, "TLS 1.3");
}

static void plain_text_is_refused_on_both_sides(void **state)
{
	static const char *const texts[] = {
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT x:1 HTTP/1.1\r\n\r\n",
		"220 mail.example ESMTP ready\r\n",
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(texts); i++) {
		struct kit_raw raw = {.plain = texts[i]};
		struct kit_end destination = end_of(&dir, "source");
		struct kit_end source = end_of(&dir, "destination");

		kit_against(&raw, &destination);
		expect_refused(&destination, "does not speak TLS");
		raw.server = true;
		kit_against(&raw, &source);
		expect_refused(&source, "does not speak TLS");
	}
}

static void a_peer_that_hangs_ends_at_the_deadline(void **state)
{
	struct kit_raw raw = {.silent = true};

	(void)state;
	for (int server = 0; server < 2; server++) {
		struct kit_end ours = end_of(&dir, "x");
		uint64_t start = pf_now_ns();

		raw.server = server;
		ours.how.deadline_ns = start + 50 * PF_NS_PER_MS;
		kit_against(&raw, &ours);
		assert_null(ours.conn);
		expect_err(&ours.err, PF_ERR_UNREACHABLE, "no answer in time");
		assert_int_equal(ours.err.sys, ETIMEDOUT);
		assert_true(pf_now_ns() - start >= 50 * PF_NS_PER_MS);
		assert_true(pf_now_ns() < kit_deadline());
	}
}

static void *cancel_main(void *fd)
{
	uint64_t one = 1;

	return write(*(int *)fd, &one, sizeof(one)) == sizeof(one) ? NULL : fd;
}

static void a_handshake_ends_at_once_when_it_is_cancelled(void **state)
{
	struct kit_raw raw = {.silent = true};
	struct kit_end ours = end_of(&dir, "x");
	int cancel = eventfd(0, EFD_CLOEXEC);
	uint64_t start = pf_now_ns();
	pthread_t thread;
	void *failed;

	(void)state;
	ours.how.cancel_fd = cancel;
	assert_int_equal(pthread_create(&thread, NULL, cancel_main, &cancel), 0);
	kit_against(&raw, &ours);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	assert_null(ours.conn);
	expect_err(&ours.err, PF_ERR_UNREACHABLE, "cancelled");
	assert_int_equal(ours.err.sys, ECANCELED);
	assert_true(pf_now_ns() - start < KIT_PATIENCE_S * PF_NS_PER_S);
	close(cancel);
}

static void a_peer_that_goes_away_in_the_handshake_is_unreachable(void **state)
{
	struct kit_end destination = end_of(&dir, "source");
	int client;

	(void)state;
	kit_sockets(&client, &destination.fd);
	destination.how.side = PF_DESTINATION;
	destination.how.deadline_ns = kit_deadline();
	destination.how.cancel_fd = -1;
	close(client);
	assert_int_equal(pf_conn_handshake(destination.fd, &destination.how, &destination.conn,
					   &destination.err),
			 -1);
	expect_err(&destination.err, PF_ERR_UNREACHABLE, "without a goodbye");
	assert_int_equal(ERR_peek_error(), 0);
}

static void missing_files_are_ours_to_mend(void **state)
{
	const struct kit_dir nowhere = {.path = "/nonexistent"};
	struct kit_end source = end_of(&nowhere, "destination");
	struct kit_end destination = end_of(&dir, "source");

	(void)state;
	kit_shake(&source, &destination);
	assert_null(source.conn);
	expect_err(&source.err, PF_ERR_CONFIG, "/nonexistent/ca-cert.pem");
	assert_null(destination.conn);
	assert_int_equal(destination.err.class, PF_ERR_UNREACHABLE);
}

static void a_replaced_certificate_is_used_by_the_next_handshake(void **state)
{
	const struct pf_pki_names renamed = {
		.server = {.sans = "DNS:new-destination"},
		.client = {.sans = "DNS:source"},
	};
	struct kit_end source = end_of(&dir, "new-destination");
	struct kit_end destination = end_of(&dir, "source");
	struct pf_conn *old_source, *old_destination;
	struct pf_err err;

	(void)state;
	kit_pair(&dir, &old_source, &old_destination);
	assert_int_equal(pf_pki_make(dir.path, &renamed, &err), 0);
	kit_shake(&source, &destination);
	assert_non_null(source.conn);
	assert_non_null(destination.conn);
	exchange(old_source, old_destination, "the old one goes on");
	pf_conn_close(source.conn);
	pf_conn_close(destination.conn);
	pf_conn_close(old_source);
	pf_conn_close(old_destination);
}

static void a_goodbye_and_a_cut_are_told_apart(void **state)
{
	struct pf_conn *source, *destination;
	struct pf_err err;
	size_t done;
	char byte;

	(void)state;
	kit_pair(&dir, &source, &destination);
	pf_conn_close(source);
	assert_int_equal(kit_read(destination, &byte, 1, &done, &err), PF_IO_EOF);
	expect_err(&err, PF_ERR_UNREACHABLE, "closed the connection");
	assert_int_equal(err.sys, 0);
	pf_conn_close(destination);

	kit_pair(&dir, &source, &destination);
	assert_int_equal(shutdown(pf_conn_fd(source), SHUT_RDWR), 0);
	assert_int_equal(kit_read(destination, &byte, 1, &done, &err), PF_IO_EOF);
	expect_err(&err, PF_ERR_UNREACHABLE, "without a goodbye");
	assert_int_equal(err.sys, ECONNRESET);
	assert_int_equal(kit_read(destination, &byte, 1, &done, &err), PF_IO_ERROR);
	pf_conn_close(source);
	pf_conn_close(destination);
}

static void writing_to_a_peer_that_is_gone_is_an_answer_and_no_signal(void **state)
{
	static char block[256 * 1024];
	struct pf_conn *source, *destination;
	enum pf_io io = PF_IO_OK;
	struct pf_err err;

	(void)state;
	kit_pair(&dir, &source, &destination);
	assert_int_equal(shutdown(pf_conn_fd(destination), SHUT_RDWR), 0);
	pf_conn_close(destination);
	for (int i = 0; i < 1000 && io == PF_IO_OK; i++)
		io = kit_write_all(source, block, sizeof(block), &err);
	assert_int_equal(io, PF_IO_EOF);
	expect_err(&err, PF_ERR_UNREACHABLE, "sending to 127.0.0.1:");
	assert_int_equal(ERR_peek_error(), 0);
	pf_conn_close(source);
}

/* It had not read what we said before, and so its close resets the connection; its word is here by then. */
static void the_last_word_is_read_after_a_write_has_failed(void **state)
{
	struct pf_conn *source, *destination;
	char heard[16] = "";
	struct pf_err err;
	size_t done, told = 0;
	enum pf_io io;

	(void)state;
	kit_pair(&dir, &source, &destination);
	assert_int_equal(kit_write_all(destination, "unread", 6, &err), PF_IO_OK);
	assert_int_equal(pf_wait_fd(pf_conn_fd(source), POLLIN, kit_deadline(), -1), 0);
	assert_int_equal(kit_write_all(source, "last word", 9, &err), PF_IO_OK);
	pf_conn_close(source);
	assert_int_equal(pf_wait_fd(pf_conn_fd(destination), POLLHUP, kit_deadline(), -1), 0);
	assert_int_not_equal(kit_write_all(destination, "too late", 8, &err), PF_IO_OK);
	assert_int_equal(err.class, PF_ERR_UNREACHABLE);
	while (told < 9 && (io = kit_read(destination, heard + told, sizeof(heard) - told, &done,
					  &err)) == PF_IO_OK)
		told += done;
	assert_string_equal(heard, "last word");
	assert_int_not_equal(kit_read(destination, heard, 1, &done, &err), PF_IO_OK);
	pf_conn_close(destination);
}

static void bytes_thrown_in_look_like_a_damaged_line(void **state)
{
	/* A well-formed record header of application data, and rubbish. */
	static const unsigned char rubbish[5 + 32] = {0x17, 0x03, 0x03, 0, 32};
	struct pf_conn *source, *destination;
	struct pf_err err;
	size_t done;
	char byte;

	(void)state;
	kit_pair(&dir, &source, &destination);
	assert_int_equal(write(pf_conn_fd(source), rubbish, sizeof(rubbish)), sizeof(rubbish));
	assert_int_equal(kit_read(destination, &byte, 1, &done, &err), PF_IO_ERROR);
	expect_err(&err, PF_ERR_UNREACHABLE, "damaged");
	assert_int_equal(err.sys, EBADMSG);
	assert_int_equal(kit_read(source, &byte, 1, &done, &err), PF_IO_ERROR);
	expect_err(&err, PF_ERR_UNREACHABLE, "damaged");
	pf_conn_close(source);
	pf_conn_close(destination);
}

#define STREAM_BYTES (1024 * 1024)

/* Writes the stream, over and over, until the socket is full; returns how much went. */
static size_t fill_socket(struct pf_conn *conn, const uint8_t *stream)
{
	size_t total = 0, done;
	struct pf_err err;
	enum pf_io io;

	do {
		size_t at = total % STREAM_BYTES;

		done = 0;
		io = pf_conn_write(conn, stream + at, STREAM_BYTES - at, &done, &err);
		total += done;
	} while (io == PF_IO_OK);
	assert_int_equal(io, PF_IO_AGAIN);
	return total;
}

/* Reads and compares the stream's bytes [from, to). */
static void expect_stream(struct pf_conn *conn, const uint8_t *stream, size_t from, size_t to)
{
	uint8_t got[4096];
	struct pf_err err;
	size_t done;

	while (from < to) {
		size_t want = to - from < sizeof(got) ? to - from : sizeof(got);

		assert_int_equal(kit_read(conn, got, want, &done, &err), PF_IO_OK);
		for (size_t i = 0; i < done; i++)
			assert_int_equal(got[i], stream[(from + i) % STREAM_BYTES]);
		from += done;
	}
}

static void a_full_socket_says_again_and_goes_on_from_a_moved_buffer(void **state)
{
	uint8_t *stream = malloc(STREAM_BYTES), *moved = malloc(STREAM_BYTES);
	struct pf_conn *source, *destination;
	struct pf_err err;
	size_t total, rest;

	(void)state;
	assert_non_null(stream);
	assert_non_null(moved);
	for (size_t i = 0; i < STREAM_BYTES; i++)
		stream[i] = (uint8_t)(i * 7 + i / 4096);
	kit_pair(&dir, &source, &destination);
	assert_int_equal(pf_conn_wants(source), POLLIN);
	total = fill_socket(source, stream);
	assert_int_equal(pf_conn_wants(source), POLLOUT);
	expect_stream(destination, stream, 0, total);

	rest = STREAM_BYTES - total % STREAM_BYTES;
	memcpy(moved, stream + total % STREAM_BYTES, rest);
	memset(stream + total % STREAM_BYTES, 0xff, rest);
	assert_int_equal(kit_write_all(source, moved, rest, &err), PF_IO_OK);
	memcpy(stream + total % STREAM_BYTES, moved, rest);
	expect_stream(destination, stream, total, total + rest);
	pf_conn_close(source);
	pf_conn_close(destination);
	free(stream);
	free(moved);
}

/* Whatever stands in its buffers then: a record half sent, one half read, or nothing. */
static void a_connection_is_shrunk_at_any_time_and_loses_nothing(void **state)
{
	uint8_t *stream = malloc(STREAM_BYTES);
	struct pf_conn *source, *destination;
	struct pf_err err;
	size_t total, at = 0;

	(void)state;
	assert_non_null(stream);
	for (size_t i = 0; i < STREAM_BYTES; i++)
		stream[i] = (uint8_t)(i * 7 + i / 4096);
	kit_pair(&dir, &source, &destination);
	total = fill_socket(source, stream);
	pf_conn_shrink(source);
	for (size_t step = 1; at < total; step = step * 3 % 40009) {
		size_t upto = step < total - at ? at + step : total;

		expect_stream(destination, stream, at, upto);
		pf_conn_shrink(destination);
		at = upto;
	}
	at = total % STREAM_BYTES;
	assert_int_equal(kit_write_all(source, stream + at, STREAM_BYTES - at, &err), PF_IO_OK);
	expect_stream(destination, stream, at, STREAM_BYTES);
	pf_conn_close(source);
	pf_conn_close(destination);
	free(stream);
}

static void keys_change_before_they_are_worn_out(void **state)
{
	struct kit_end source = end_of(&dir, "destination");
	struct kit_end destination = end_of(&dir, "source");
	char text[32];

	(void)state;
	source.how.rekey_records = 10;
	kit_shake(&source, &destination);
	assert_non_null(source.conn);
	assert_non_null(destination.conn);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "message %d", i);
		exchange(source.conn, destination.conn, text);
		exchange(destination.conn, source.conn, text);
	}
	assert_int_equal(pf_conn_key_updates(source.conn), 9);
	assert_int_equal(pf_conn_key_updates(destination.conn), 0);
	pf_conn_close(source.conn);
	pf_conn_close(destination.conn);
}

static void keying_material_is_the_same_at_both_ends_and_differs_by_label(void **state)
{
	struct pf_conn *source, *destination;
	uint8_t mine[32], theirs[32], third[32];
	struct pf_err err;

	(void)state;
	kit_pair(&dir, &source, &destination);
	assert_int_equal(pf_conn_export(source, "EXPORTER-a", mine, 32, &err), 0);
	assert_int_equal(pf_conn_export(destination, "EXPORTER-a", theirs, 32, &err), 0);
	assert_int_equal(pf_conn_export(destination, "EXPORTER-b", third, 32, &err), 0);
	assert_memory_equal(mine, theirs, 32);
	assert_memory_not_equal(mine, third, 32);
	assert_int_equal(ERR_peek_error(), 0);
	pf_conn_close(source);
	pf_conn_close(destination);
}

#define in_dirs(test) cmocka_unit_test_setup_teardown(test, make_dirs, remove_dirs)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dirs(two_that_trust_each_other_talk),
		in_dirs(every_kind_of_name_works_in_a_handshake),
		in_dirs(a_source_refuses_a_destination_of_another_authority),
		in_dirs(a_destination_refuses_a_source_of_another_authority),
		in_dirs(a_source_refuses_a_destination_of_another_name),
		in_dirs(a_destination_refuses_a_source_of_another_name),
		in_dirs(a_refused_source_hears_why_though_it_writes_first),
		in_dirs(a_revoked_source_is_refused),
		in_dirs(certificates_out_of_their_time_are_refused),
		in_dirs(a_certificate_for_the_other_role_is_refused),
		in_dirs(a_source_without_certificate_is_refused),
		in_dirs(older_tls_is_refused_on_both_sides),
		in_dirs(plain_text_is_refused_on_both_sides),
		in_dirs(a_peer_that_hangs_ends_at_the_deadline),
		in_dirs(a_handshake_ends_at_once_when_it_is_cancelled),
		in_dirs(a_peer_that_goes_away_in_the_handshake_is_unreachable),
		in_dirs(missing_files_are_ours_to_mend),
		in_dirs(a_replaced_certificate_is_used_by_the_next_handshake),
		in_dirs(a_goodbye_and_a_cut_are_told_apart),
		in_dirs(writing_to_a_peer_that_is_gone_is_an_answer_and_no_signal),
		in_dirs(the_last_word_is_read_after_a_write_has_failed),
		in_dirs(bytes_thrown_in_look_like_a_damaged_line),
		in_dirs(a_full_socket_says_again_and_goes_on_from_a_moved_buffer),
		in_dirs(a_connection_is_shrunk_at_any_time_and_loses_nothing),
		in_dirs(keys_change_before_they_are_worn_out),
		in_dirs(keying_material_is_the_same_at_both_ends_and_differs_by_label),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
