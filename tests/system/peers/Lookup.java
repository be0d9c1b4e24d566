// java Lookup.java NAME: its addresses as the system's resolver and as Java's own DNS client (JNDI) find
// them, one line each, then the page.

import java.net.InetAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Arrays;
import java.util.Hashtable;
import java.util.stream.Collectors;
import javax.naming.Context;
import javax.naming.directory.InitialDirContext;

public class Lookup {
    public static void main(String[] args) throws Exception {
        String name = args[0];
        System.out.println(Arrays.stream(InetAddress.getAllByName(name))
            .map(InetAddress::getHostAddress).collect(Collectors.joining(" ")));
        System.out.println(byDns(name));
        HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + name + "/")).build();
        System.out.print(HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).body());
    }

    static Object byDns(String name) throws Exception {
        Hashtable<String, String> settings = new Hashtable<>();
        settings.put(Context.INITIAL_CONTEXT_FACTORY, "com.sun.jndi.dns.DnsContextFactory");
        settings.put(Context.PROVIDER_URL, "dns:");
        return new InitialDirContext(settings).getAttributes(name, new String[] {"A"}).get("A").get();
    }
}
