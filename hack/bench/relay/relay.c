/*
 * A TCP relay that understands nothing: what one thread with epoll costs at least when it stands between a client and a
 * server. Each accepted connection gets one of its own to the server; bytes are read once and written once.
 * It is the yardstick of hack/bench and no more: it resolves nothing, logs nothing and listens on loopback only.
 *
 * usage: relay LISTEN_PORT SERVER_PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, EVENTS = 256 };

/* side is one socket of a pair. kept holds what its peer's bytes could not be written to it at once. */
struct side {
	int fd;
	struct pair *pair;
	struct side *other;
	char *kept;
	size_t kept_len;
};

struct pair {
	struct side client, server;
	int closed;
	struct pair *next; /* in the list of pairs to be freed after this round */
};

static int poller;
static char chunk[CHUNK];
static struct pair *garbage;

static void watch(struct side *s, int op, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = s };
	if (epoll_ctl(poller, op, s->fd, &e) < 0)
		perror("epoll_ctl");
}

/* Other events of this round may still point at the pair, so its memory goes at the end of the round. */
static void close_pair(struct pair *p)
{
	if (p->closed)
		return;
	p->closed = 1;
	close(p->client.fd);
	close(p->server.fd);
	p->next = garbage;
	garbage = p;
}

static void collect(void)
{
	while (garbage) {
		struct pair *p = garbage;
		garbage = p->next;
		free(p->client.kept);
		free(p->server.kept);
		free(p);
	}
}

/* The interest of a side: it is read only while its peer keeps nothing, and written only while it keeps something. */
static void interest(struct side *s)
{
	watch(s, EPOLL_CTL_MOD, (s->other->kept_len ? 0 : EPOLLIN) | (s->kept_len ? EPOLLOUT : 0));
}

static int give(struct side *to, const char *data, size_t len)
{
	ssize_t n = write(to->fd, data, len);
	if (n < 0 && errno != EAGAIN)
		return -1;
	if (n < 0)
		n = 0;
	if ((size_t)n == len)
		return 0;
	to->kept = malloc(len - n);
	if (!to->kept)
		return -1;
	to->kept_len = len - n;
	memcpy(to->kept, data + n, to->kept_len);
	interest(to);
	interest(to->other);
	return 0;
}

static int drain(struct side *s)
{
	ssize_t n = write(s->fd, s->kept, s->kept_len);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	s->kept_len -= n;
	memmove(s->kept, s->kept + n, s->kept_len);
	if (s->kept_len == 0) {
		free(s->kept);
		s->kept = NULL;
		interest(s);
		interest(s->other);
	}
	return 0;
}

static void ready(struct side *s, uint32_t events)
{
	if (s->pair->closed)
		return;
	if ((events & EPOLLOUT) && s->kept_len && drain(s) < 0) {
		close_pair(s->pair);
		return;
	}
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || s->other->kept_len)
		return;
	ssize_t n = read(s->fd, chunk, CHUNK);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || give(s->other, chunk, n) < 0)
		close_pair(s->pair);
}

static int loopback(struct sockaddr_in *a, const char *port)
{
	int n = atoi(port);
	memset(a, 0, sizeof *a);
	a->sin_family = AF_INET;
	a->sin_port = htons(n);
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return n > 0 && n < 65536;
}

static void accept_all(int listener, const struct sockaddr_in *server)
{
	int fd, on = 1;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		int up = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct pair *p = calloc(1, sizeof *p);
		if (up < 0 || !p || connect(up, (const void *)server, sizeof *server) < 0) {
			perror("connect");
			close(fd);
			if (up >= 0)
				close(up);
			free(p);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		setsockopt(up, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		/* connecting waits, on purpose; from here on nothing does */
		fcntl(up, F_SETFL, O_NONBLOCK);
		p->client = (struct side){ .fd = fd, .pair = p, .other = &p->server };
		p->server = (struct side){ .fd = up, .pair = p, .other = &p->client };
		watch(&p->client, EPOLL_CTL_ADD, EPOLLIN);
		watch(&p->server, EPOLL_CTL_ADD, EPOLLIN);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in here, server;
	int on = 1;

	if (argc != 3 || !loopback(&here, argv[1]) || !loopback(&server, argv[2])) {
		fprintf(stderr, "usage: relay LISTEN_PORT SERVER_PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	poller = epoll_create1(EPOLL_CLOEXEC);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (poller < 0 || bind(listener, (void *)&here, sizeof here) < 0 || listen(listener, 4096) < 0) {
		perror("listen");
		return 1;
	}
	struct side front = { .fd = listener };
	watch(&front, EPOLL_CTL_ADD, EPOLLIN);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(poller, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct side *s = events[i].data.ptr;
			if (s == &front)
				accept_all(listener, &server);
			else
				ready(s, events[i].events);
		}
		collect();
	}
}
