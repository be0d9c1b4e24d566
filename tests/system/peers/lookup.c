/* lookup NAME: its addresses as getaddrinfo(3) of the C library that this is linked with finds them. */

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *one;
    char text[64];
    int error = argc == 2 ? getaddrinfo(argv[1], "80", &hints, &found) : EAI_NONAME;

    if (error) {
        fprintf(stderr, "%s\n", gai_strerror(error));
        return 1;
    }
    for (one = found; one; one = one->ai_next) {
        getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
        puts(text);
    }
    return 0;
}
