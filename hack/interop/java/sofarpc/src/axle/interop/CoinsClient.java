package axle.interop;

import com.alipay.sofa.rpc.api.GenericService;
import com.alipay.sofa.rpc.api.future.SofaResponseFuture;
import com.alipay.sofa.rpc.common.RpcConfigs;
import com.alipay.sofa.rpc.common.RpcOptions;
import com.alipay.sofa.rpc.config.ConsumerConfig;
import com.alipay.sofa.rpc.context.RpcInvokeContext;
import com.alipay.sofa.rpc.core.exception.SofaRpcException;
import com.google.protobuf.StringValue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.UnaryOperator;

/** A stock SOFARPC client of what only servers of Java offer: protobuf, baggage, exceptions of several kinds. Argument: port. */
public class CoinsClient {
    private static final String LARGE = "large ".repeat(5_000);

    private final String url;
    private final AtomicInteger next = new AtomicInteger();
    private final Report report = new Report();

    public static void main(String[] args) throws Exception {
        RpcConfigs.putValue(RpcOptions.INVOKE_BAGGAGE_ENABLE, true); // before the context is used
        new CoinsClient("bolt://127.0.0.1:" + args[0]).run();
        System.exit(0);
    }

    private CoinsClient(String url) {
        this.url = url;
    }

    private <T> ConsumerConfig<T> consumer(Class<T> type, String service, String invokeType, String serialization) {
        return new ConsumerConfig<T>().setInterfaceId(service).setProtocol("bolt").setDirectUrl(url).setRegister(false)
                .setInvokeType(invokeType).setSerialization(serialization).setTimeout(10_000).setRetries(0).setRepeatedReferLimit(-1);
    }

    private Coins coins(String invokeType, String serialization) {
        return consumer(Coins.class, Coins.class.getName(), invokeType, serialization).refer();
    }

    private void run() throws Exception {
        Coins protobuf = coins("sync", "protobuf");
        Coins future = coins("future", "protobuf");
        Coins hessian = coins("sync", "hessian2");
        GenericService generic = consumer(GenericService.class, Ledger.class.getName(), "sync", "hessian2").setGeneric(true).refer();
        report.untilStopped(
                report.keep("protobuf", () -> protobuf.echo(StringValue.of("text")).getValue().equals("text")),
                report.keep("protobuf-large", () -> protobuf.echo(StringValue.of(LARGE)).getValue().equals(LARGE)),
                report.keep("protobuf-future", () -> inFuture(future)),
                report.keep("protobuf-throws", () -> refused("as it was told", () -> protobuf.echo(StringValue.of("unchecked")))),
                report.keep("protobuf-baggage", () -> carried(text -> protobuf.echo(StringValue.of(text)).getValue())),
                report.keep("baggage", () -> carried(hessian::say)),
                report.keep("unchecked", () -> thrown(hessian)),
                report.keep("no-method", () -> refused("ake", () -> generic.$invoke("bake", new String[0], new Object[0]))));
        report.print("in all");
    }

    private boolean inFuture(Coins future) throws Exception {
        String text = "text " + next.incrementAndGet();
        future.echo(StringValue.of(text));
        return text.equals(((StringValue) SofaResponseFuture.getResponse(10_000, true)).getValue());
    }

    /** Baggage goes there with a request, and other baggage comes back with its answer. */
    private boolean carried(UnaryOperator<String> ask) {
        String purse = "purse " + next.incrementAndGet();
        RpcInvokeContext.getContext().putRequestBaggage("purse", purse);
        try {
            return ask.apply("purse").equals(purse)
                    && ("of " + purse).equals(RpcInvokeContext.getContext().getResponseBaggage("change"));
        } finally {
            RpcInvokeContext.removeContext();
        }
    }

    /** An exception that the interface does not declare comes as it was thrown. */
    private boolean thrown(Coins coins) {
        try {
            coins.say("unchecked");
            return false;
        } catch (IllegalStateException e) {
            return "as it was told".equals(e.getMessage());
        }
    }

    private boolean refused(String why, Runnable call) {
        try {
            call.run();
            return false;
        } catch (SofaRpcException e) {
            if (!String.valueOf(e.getMessage()).contains(why)) {
                throw e;
            }
            return true;
        }
    }
}
