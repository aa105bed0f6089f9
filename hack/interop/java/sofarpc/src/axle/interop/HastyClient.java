package axle.interop;

import com.alipay.sofa.rpc.config.ConsumerConfig;

/** A stock SOFARPC client of a ledger whose calls are hedged. Argument: port. */
public class HastyClient {
    public static void main(String[] args) throws Exception {
        Ledger ledger = new ConsumerConfig<Ledger>().setInterfaceId(Ledger.class.getName()).setProtocol("bolt")
                .setDirectUrl("bolt://127.0.0.1:" + args[0]).setRegister(false).setTimeout(30_000).setRetries(0).refer();
        new Hasty().calls(ledger);
        System.exit(0);
    }
}
