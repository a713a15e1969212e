/* The provider of the benchmark: answers every request at once, so that what is measured is the gateway.
 *
 *   POST …               a chat completion of 654 bytes
 *   POST … stream        51 server-sent events (content, finish, usage, [DONE]), each in its own HTTP chunk
 *                        and its own write, at once
 *                        "events-N" in a message: N events; "pace-N": N milliseconds between two of them
 *   GET  /counts         how many requests were answered, how many events were sent, how many connections came
 *
 * One thread, epoll, keep-alive. Built at bench time: cc -O2 -o upstream upstream.c
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { INPUT = 1 << 18, EVENTS = 51, WORDS = 48, BODY = 654, MAX_FD = 4096 };

typedef struct {
    int fd;
    size_t used;       /* bytes in input */
    char *out;         /* what could not be written at once */
    size_t out_used, out_sent;
    int next_event, events;  /* of a paced stream; equal when there is none */
    long due_ms, pace_ms;
    char input[INPUT];
} Connection;

static Connection *connections[MAX_FD];
static int highest = 0, poller, paced = 0;
static long answered = 0, sent_events = 0, accepted = 0;
static char whole[BODY + 256], stream_head[256];
static size_t whole_length, stream_head_length;

/* Events of a stream: words over and over, then how it ends. */
enum { FINISH = WORDS, USAGE, DONE, KINDS };
static char *chunks[KINDS];
static size_t chunk_lengths[KINDS];

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

static void build_answers(void) {
    static const char *before =
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1750000000,\"model\":\"gpt-4o-mini\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    static const char *after =
        "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":180,"
        "\"completion_tokens\":60,\"total_tokens\":240,\"prompt_tokens_details\":{\"cached_tokens\":0},"
        "\"completion_tokens_details\":{\"reasoning_tokens\":0}},\"system_fingerprint\":\"fp_bench\"}";
    char body[BODY + 1];
    size_t head = strlen(before), tail = strlen(after);
    memcpy(body, before, head);
    for (size_t i = head; i < BODY - tail; i++) body[i] = (i - head) % 6 == 5 ? ' ' : 'a' + i % 26;
    memcpy(body + BODY - tail, after, tail + 1);
    whole_length = sprintf(whole,
                           "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\n"
                           "content-length: %d\r\n\r\n%s",
                           BODY, body);
    stream_head_length = sprintf(stream_head,
                                 "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\n"
                                 "transfer-encoding: chunked\r\n\r\n");
    for (int i = 0; i < KINDS; i++) {
        static const char *start = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\","
                                   "\"created\":1750000000,\"model\":\"gpt-4o-mini\",\"choices\":[";
        char event[480];
        int n;
        if (i == DONE)
            n = sprintf(event, "data: [DONE]\n\n");
        else if (i == USAGE)
            n = sprintf(event, "%s],\"usage\":{\"prompt_tokens\":180,\"completion_tokens\":48,\"total_tokens\":228}}\n\n",
                        start);
        else if (i == FINISH)
            n = sprintf(event, "%s{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n", start);
        else
            n = sprintf(event, "%s{\"index\":0,\"delta\":{\"content\":\" word%02d\"},\"finish_reason\":null}],"
                               "\"usage\":null}\n\n", start, i);
        chunks[i] = malloc(sizeof event + 32);
        chunk_lengths[i] = sprintf(chunks[i], "%x\r\n%s\r\n%s", n, event, i == DONE ? "0\r\n\r\n" : "");
    }
}

static int kind(int event, int events) {
    return event < events - 3 ? event % WORDS : KINDS - (events - event);
}

static void drop(Connection *c) {
    if (c->next_event < c->events) paced--;
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->out);
    free(c);
}

/* Returns -1 when the connection was lost. */
static int put(Connection *c, const char *data, size_t length) {
    if (c->out_used == c->out_sent) {
        ssize_t n = write(c->fd, data, length);
        if (n < 0 && errno != EAGAIN) return -1;
        if (n > 0) data += n, length -= n;
        if (length == 0) return 0;
        c->out_used = c->out_sent = 0;
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    }
    c->out = realloc(c->out, c->out_used + length);
    memcpy(c->out + c->out_used, data, length);
    c->out_used += length;
    return 0;
}

static int flush(Connection *c) {
    while (c->out_sent < c->out_used) {
        ssize_t n = write(c->fd, c->out + c->out_sent, c->out_used - c->out_sent);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        c->out_sent += n;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
    return 0;
}

static int put_event(Connection *c) {
    int i = kind(c->next_event++, c->events);
    sent_events++;
    if (c->next_event == c->events) paced--;
    c->due_ms += c->pace_ms;
    return put(c, chunks[i], chunk_lengths[i]);
}

/* The number behind a word in the request. A message, unlike a path or a header, passes through every gateway. */
static int option(const char *body, size_t length, const char *word, int otherwise) {
    const char *found = memmem(body, length, word, strlen(word));
    return found ? atoi(found + strlen(word)) : otherwise;
}

static int answer(Connection *c, const char *head, const char *body, size_t length) {
    answered++;
    if (!strncmp(head, "GET /counts", 11)) {
        char counts[200], text[400];
        answered--;
        int n = sprintf(counts, "{\"answered\":%ld,\"events\":%ld,\"connections\":%ld}", answered, sent_events,
                        accepted);
        n = sprintf(text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, counts);
        return put(c, text, n);
    }
    if (!memmem(body, length, "\"stream\":true", 13) && !memmem(body, length, "\"stream\": true", 14))
        return put(c, whole, whole_length);
    int events = option(body, length, "events-", EVENTS), pace_ms = option(body, length, "pace-", 0);
    if (put(c, stream_head, stream_head_length)) return -1;
    if (!pace_ms) {
        for (int i = 0; i < events; i++)
            if (put(c, chunks[kind(i, events)], chunk_lengths[kind(i, events)])) return -1;
        sent_events += events;
        return 0;
    }
    c->next_event = 0;
    c->events = events;
    c->pace_ms = pace_ms;
    c->due_ms = now_ms();
    paced++;
    return put_event(c);
}

/* Answers every whole request in the input. Bodies are short here: a longer one ends the connection. */
static int serve(Connection *c) {
    for (;;) {
        char *end = memmem(c->input, c->used, "\r\n\r\n", 4);
        if (!end) return c->used == INPUT ? -1 : 0;
        *end = 0;
        char *length_header = strcasestr(c->input, "\r\ncontent-length:");
        *end = '\r';
        size_t length = length_header ? strtoul(length_header + 17, NULL, 10) : 0;
        size_t total = end + 4 - c->input + length;
        if (total > INPUT) return -1;
        if (c->used < total) return 0;
        if (answer(c, c->input, end + 4, length)) return -1;
        memmove(c->input, c->input + total, c->used - total);
        c->used -= total;
    }
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        accepted++;
        connections[fd] = c;
        if (fd > highest) highest = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the benchmark */
    build_answers();
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 2048)) return perror("listen"), 1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(poller, ready, 256, paced ? 1 : -1);
        for (int i = 0; i < n; i++) {
            Connection *c = ready[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (ready[i].events & EPOLLOUT && flush(c)) {
                drop(c);
                continue;
            }
            if (!(ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
            ssize_t got = read(c->fd, c->input + c->used, INPUT - c->used);
            if (got > 0) c->used += got;
            if (got == 0 || (got < 0 && errno != EAGAIN) || serve(c)) drop(c);
        }
        if (!paced) continue;
        long now = now_ms();
        for (int fd = 0; fd <= highest; fd++) {
            Connection *c = connections[fd];
            if (!c) continue;
            while (c->next_event < c->events && c->due_ms <= now)
                if (put_event(c)) {
                    drop(c);
                    break;
                }
        }
    }
}
