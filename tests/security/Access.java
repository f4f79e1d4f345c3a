import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Changes a broker's users and rights, a line of standard input at a time: "user NAME PASSWORD" (SCRAM-SHA-512),
 * "allow PRINCIPAL OPERATION TOPIC|GROUP NAME", "withdraw" with the same. It answers each with "ok", when the broker acts on it.
 *
 * <p>Kafka's own command-line tools do the same, but each call starts a Java machine.
 *
 * <p>Usage: java -cp 'libs/*' Access.java HOST:PORT
 */
public final class Access {
    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                obey(admin, line.split(" "));
                System.out.println("ok");
            }
        }
    }

    private static void obey(Admin admin, String[] words) throws Exception {
        switch (words[0]) {
            case "user" -> user(admin, words[1], words[2]);
            case "allow" -> {
                AclBinding right = right(words);
                admin.createAcls(List.of(right)).all().get();
                until(() -> admin.describeAcls(right.toFilter()).values().get().contains(right));
            }
            case "withdraw" -> {
                AclBinding right = right(words);
                admin.deleteAcls(List.of(right.toFilter())).all().get();
                until(() -> admin.describeAcls(right.toFilter()).values().get().isEmpty());
            }
            default -> throw new IOException("unknown: " + words[0]);
        }
    }

    private static void user(Admin admin, String name, String password) throws Exception {
        ScramCredentialInfo kind = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096);
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion(name, kind, password))).all().get();
        until(() -> admin.describeUserScramCredentials().users().get().contains(name));
    }

    private static AclBinding right(String[] words) {
        ResourcePattern on = new ResourcePattern(ResourceType.valueOf(words[3]), words[4], PatternType.LITERAL);
        AclOperation operation = AclOperation.valueOf(words[2]);
        return new AclBinding(on, new AccessControlEntry(words[1], "*", operation, AclPermissionType.ALLOW));
    }

    /** The controller has it; the broker learns it a moment later. */
    private static void until(Callable<Boolean> done) throws Exception {
        for (int tries = 0; !done.call(); tries++) {
            if (tries == 1_000) {
                throw new IllegalStateException("the broker does not learn of it");
            }
            Thread.sleep(10);
        }
    }
}
