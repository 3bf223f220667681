import io.fabric8.kubernetes.api.model.ConfigMap;
import io.fabric8.kubernetes.client.Config;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.Watcher;
import io.fabric8.kubernetes.client.WatcherException;
import io.fabric8.kubernetes.client.dsl.ExecWatch;
import java.io.ByteArrayOutputStream;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * fabric8's client through the gateway: lists, runs a command, watches until the watch ends, and tries again. With the word
 * {@code consoles}, every form of an exec instead.
 *
 * <p>Prints a line for each step, which tests/it/gateway_clients.rs reads. It loads its kubeconfig once, as programs do
 * that run for long.
 */
final class Client {
  private static KubernetesClient client;
  private static String namespace;

  public static void main(String[] arguments) throws Exception {
    namespace = arguments[0];
    // It takes a key in PKCS#8 for one of RSA unless it is told otherwise. Without the limits it would try again for
    // minutes before it says that it was refused.
    Config config =
        new ConfigBuilder(Config.autoConfigure(null))
            .withClientKeyAlgo("EC")
            .withWatchReconnectLimit(1)
            .withRequestRetryBackoffLimit(0)
            .build();
    client = new KubernetesClientBuilder().withConfig(config).build();
    if (arguments.length > 1 && arguments[1].equals("consoles")) {
      Consoles.run(client, namespace);
      System.exit(0);
    }
    say("listed", names());
    // Not as a stream to read, which fails where the command does.
    ByteArrayOutputStream output = new ByteArrayOutputStream();
    try (ExecWatch exec =
        client
            .pods()
            .inNamespace(namespace)
            .withName("web-0")
            .writingOutput(output)
            .exec("sh", "-c", "echo out; exit 3")) {
      say("exec", exec.exitCode().get(20, TimeUnit.SECONDS) + " " + output);
    }
    CompletableFuture<String> ended = new CompletableFuture<>();
    client
        .configMaps()
        .inNamespace(namespace)
        .watch(
            new Watcher<ConfigMap>() {
              @Override
              public void eventReceived(Action action, ConfigMap found) {
                String name = found.getMetadata().getName();
                say("saw", name);
                if (name.equals("late")) {
                  // Not here, where the client's own thread would wait for itself.
                  CompletableFuture.runAsync(() -> say("listed", names()));
                }
              }

              @Override
              public void onClose(WatcherException cause) {
                ended.complete(String.valueOf(cause));
              }
            });
    say("ended", ended.get());
    try {
      say("listed", names());
    } catch (RuntimeException error) {
      say("refused", error + " " + error.getCause());
    }
    System.exit(0);
  }

  private static String names() {
    return client.configMaps().inNamespace(namespace).list().getItems().stream()
        .map(found -> found.getMetadata().getName())
        .collect(Collectors.joining(","));
  }

  private static synchronized void say(String what, String words) {
    System.out.println(what + " " + words.trim().replaceAll("\\s+", " "));
  }
}
