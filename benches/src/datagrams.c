// The floor for datagrams, and a load for it. As a server it sends back whatever comes, in batches, and
// does nothing else; what it costs is what the kernel costs. As a client it keeps so many datagrams in
// flight on each of so many sockets, and says how many came back.
//
//   datagrams epoll    ADDRESS                              prints its port and serves until it is killed
//   datagrams blocking ADDRESS
//   datagrams load     PORT SOCKETS WINDOW SIZE COUNT

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { BATCH = 64, BUFFER = 4096 + 64 };

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static struct sockaddr_in names[BATCH];
static char buffers[BATCH][BUFFER];

static void check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

static void prepare(int index, size_t size, int named) {
    vectors[index] = (struct iovec){buffers[index], size};
    messages[index].msg_hdr = (struct msghdr){
        .msg_name = named ? &names[index] : NULL,
        .msg_namelen = named ? sizeof names[index] : 0,
        .msg_iov = &vectors[index],
        .msg_iovlen = 1,
    };
}

// Sends back the batch that was received, and makes its messages ready for the next.
static void echo(int fd, int count) {
    for (int i = 0; i < count; i++)
        vectors[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < count;) {
        int more = sendmmsg(fd, messages + sent, count - sent, 0);
        check(more, "sendmmsg");
        sent += more;
    }
    for (int i = 0; i < count; i++) {
        vectors[i].iov_len = 4096;
        messages[i].msg_hdr.msg_namelen = sizeof names[i];
    }
}

static int bound(const char *address) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &name.sin_addr);
    check(bind(fd, (struct sockaddr *)&name, sizeof name), "bind");
    socklen_t length = sizeof name;
    check(getsockname(fd, (struct sockaddr *)&name, &length), "getsockname");
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    for (int i = 0; i < BATCH; i++)
        prepare(i, 4096, 1);
    return fd;
}

static void serve_epoll(const char *address) {
    int fd = bound(address), poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    check(epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    for (;;) {
        check(epoll_wait(poll, &event, 1, -1), "epoll_wait");
        int count = BATCH;
        while (count == BATCH) {
            count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
            if (count > 0)
                echo(fd, count);
        }
    }
}

static void serve_blocking(const char *address) {
    int fd = bound(address);
    for (;;) {
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        check(count, "recvmmsg");
        echo(fd, count);
    }
}

static void load(int port, int sockets, int window, int size, long count) {
    int fds[sockets];
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    struct timeval patience = {.tv_usec = 200000};
    long returned = 0, lost = 0;
    for (int s = 0; s < sockets; s++) {
        fds[s] = socket(AF_INET, SOCK_DGRAM, 0);
        check(connect(fds[s], (struct sockaddr *)&server, sizeof server), "connect");
        setsockopt(fds[s], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    for (int i = 0; i < window; i++)
        prepare(i, size, 0);
    for (int s = 0; s < sockets; s++)
        check(sendmmsg(fds[s], messages, window, 0), "sendmmsg");
    while (returned + lost < count) {
        for (int s = 0; s < sockets; s++) {
            int came = recvmmsg(fds[s], messages, window, MSG_WAITFORONE, NULL);
            if (came < 0) {
                came = window;
                lost += window;
            } else {
                returned += came;
            }
            check(sendmmsg(fds[s], messages, came, 0), "sendmmsg");
        }
    }
    printf("%ld\n", returned);
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "epoll"))
        serve_epoll(words[2]);
    else if (count == 3 && !strcmp(words[1], "blocking"))
        serve_blocking(words[2]);
    else if (count == 7 && !strcmp(words[1], "load"))
        load(atoi(words[2]), atoi(words[3]), atoi(words[4]), atoi(words[5]), atol(words[6]));
    else
        return 2;
}
