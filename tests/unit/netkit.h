/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/netkit.h - what the tests of src/net share: certificates in a folder of their own,
 * two real ends over loopback TCP, peers that misbehave.
 *
 * Every helper that fails ends the test by a cmocka assertion; helpers are for the main thread.
 */
#ifndef PF_TESTS_NETKIT_H
#define PF_TESTS_NETKIT_H

#include <stdint.h>

#include "migrate/demo/pki.h"
#include "net/conn.h"

#define KIT_PATIENCE_S 20 /* far beyond what anything here takes; ends a test that would hang */

struct kit_dir {
	char path[48];
};

/* names NULL: "DNS:destination" and "DNS:source". */
void kit_dir_make(struct kit_dir *dir, const struct pf_pki_names *names);
void kit_dir_remove(const struct kit_dir *dir);
/* The usual ones, and cmocka's fixtures of a group of tests that have them. */
extern struct kit_dir kit_tls;
int kit_make_tls(void **state);
int kit_remove_tls(void **state);
void kit_file(const struct kit_dir *dir, const char *name, char out[128]);
/* Copies (or, with append, adds) one file of a folder to another. */
void kit_copy(const struct kit_dir *from, const char *name, const struct kit_dir *to,
	      const char *as, bool append);
void kit_write(const struct kit_dir *dir, const char *name, const char *text);

/* Two connected TCP sockets. */
void kit_sockets(int *out_connected, int *out_accepted);
uint64_t kit_deadline(void);

struct kit_end {
	struct pf_handshake how;
	int fd;
	struct pf_conn *conn; /* NULL: refused */
	struct pf_err err;
	bool queue_empty; /* OpenSSL's error queue after the handshake */
};

/* Both ends' handshakes, each in a thread; how.tls_dir, peer_name (and more, if wanted) are given.
 */
void kit_shake(struct kit_end *source, struct kit_end *destination);
/* The usual pair; both succeed. */
void kit_pair(const struct kit_dir *dir, struct pf_conn **out_source,
	      struct pf_conn **out_destination);

/* As pf_conn_read() and _write(), but poll while the answer is AGAIN; assert an empty error queue.
 */
enum pf_io kit_read(struct pf_conn *conn, void *buffer, size_t size, size_t *out_done,
		    struct pf_err *err);
enum pf_io kit_write_all(struct pf_conn *conn, const void *buffer, size_t length,
			 struct pf_err *err);

/* A peer made of OpenSSL alone, with none of our rules. */
struct kit_raw {
	bool server;
	const struct kit_dir *dir; /* NULL: no certificate */
	int max_version;	   /* 0: the newest */
	const char *plain;	   /* instead of TLS, these bytes */
	bool silent;		   /* instead of TLS, nothing at all */
};

/* Our end's handshake against it; the raw peer leaves when our end is done. */
void kit_against(const struct kit_raw *raw, struct kit_end *ours);

#endif
