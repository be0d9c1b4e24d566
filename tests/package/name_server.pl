# name_server.pl ADDRESS: on UDP port 53 it knows one NAT record for every name, and no address:
# 203.0.113.1 port 100, then 192.168.0.2.
use strict;
use warnings;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => 53, Proto => 'udp') or die $!;
while (defined $socket->recv(my $query, 512)) {
    my ($question) = substr($query, 12) =~ /^((?:[^\0]+)?\0.{4})/s or next;
    my $nat = unpack('n', substr($question, -4)) == 65324;
    my $answer = $nat ? pack('H*', 'c00cff2c00010000003c000acb0071010064c0a80002') : '';
    $socket->send(substr($query, 0, 2) . pack('n5', 0x8580, 1, $nat ? 1 : 0, 0, 0) . $question . $answer);
}
