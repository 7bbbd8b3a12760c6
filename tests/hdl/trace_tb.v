// Reads vectors.txt, writes words.txt. A vector is an op and nine numbers in hex (unused ones 0):
//   0: load x_i, x_j, x_s, w, g, phase up, phase down
//   1: decays and jumps m_i, s_i, A_i, m_j, s_j, A_j, m_s, s_s, A_s
//   2: thresholds theta_i, theta_j, theta_lo, theta_hi, theta_w; flags stop_learning, gate_silent_pre
//   3: c_p, -c_d1, -c_d2, U, D      4: step      5: pre spike, learn      6: post spike, learn      7: show the words and g
`timescale 1ns / 1ns
module trace_tb;
    parameter T = 30, W = 30;
    reg clk = 0, load = 0, step = 0, pre = 0, post = 0;
    reg [63:0] op, n[0:8], c[0:8], h[0:8], k[0:8];
    wire [T:0] x_i, x_j, x_s;
    wire [W:0] w;
    integer in, out, got, q;

    synapse #(T, W) one (
        .clk(clk), .load(load), .load_i(n[0][T:0]), .load_j(n[1][T:0]), .load_s(n[2][T:0]), .load_w(n[3][W:0]),
        .load_g(n[4][31:0]), .load_up(n[5][31:0]), .load_down(n[6][31:0]),
        .m_i(c[0][30:0]), .s_i(c[1][5:0]), .a_i(c[2][T:0]), .m_j(c[3][30:0]), .s_j(c[4][5:0]), .a_j(c[5][T:0]),
        .m_s(c[6][30:0]), .s_s(c[7][5:0]), .a_s(c[8][T:0]),
        .theta_i(h[0][T:0]), .theta_j(h[1][T:0]), .theta_lo(h[2][T:0]), .theta_hi(h[3][T:0]), .theta_w(h[4][W:0]),
        .stop_learning(h[5][0]), .gate_silent_pre(h[6][0]),
        .c_p(k[0][W+2:0]), .d_1(k[1][W+2:0]), .d_2(k[2][W+2:0]), .up(k[3][W+32:0]), .down(k[4][W+32:0]),
        .step(step), .pre(pre), .post(post), .learn(n[0][0]), .x_i(x_i), .x_j(x_j), .x_s(x_s), .w(w));

    task read;
        got = $fscanf(in, "%h %h %h %h %h %h %h %h %h %h", op, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8]);
    endtask

    initial begin
        in = $fopen("vectors.txt", "r");
        out = $fopen("words.txt", "w");
        read;
        while (got == 10) begin
            for (q = 0; q < 9; q = q + 1) begin
                if (op == 1) c[q] = n[q];
                if (op == 2) h[q] = n[q];
                if (op == 3) k[q] = n[q];
            end
            load = op == 0;
            step = op == 4;
            pre = op == 5;
            post = op == 6;
            #1 clk = 1;
            #1 clk = 0;
            if (op == 7) $fdisplay(out, "%h %h %h %h %h", x_i, x_j, x_s, w, one.g);
            read;
        end
        $fclose(out);
        $finish;
    end
endmodule
